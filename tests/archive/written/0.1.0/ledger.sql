BEGIN TRANSACTION;
CREATE TABLE active_series (
	receiver TEXT NOT NULL, 
	tenant TEXT NOT NULL, 
	hour BIGINT NOT NULL, 
	series BIGINT NOT NULL, 
	noted_ms BIGINT NOT NULL, 
	PRIMARY KEY (receiver, tenant, hour, series)
);
CREATE TABLE collapsed_sources (
	kind VARCHAR(8) NOT NULL, 
	shard BIGINT NOT NULL, 
	tenant TEXT NOT NULL, 
	hour VARCHAR(16) NOT NULL, 
	ulids BLOB NOT NULL, 
	timestamps BLOB NOT NULL, 
	PRIMARY KEY (kind, shard, tenant, hour)
);
INSERT INTO "collapsed_sources" VALUES('segments',1,'','2026-11-20-09:00',X'6A9971D4D49FEC087C62E6C8E9A32537B4FAC3C76BD87036',X'000001A1F837E709');
CREATE TABLE cursors (
	folder TEXT NOT NULL, 
	purpose VARCHAR(16) NOT NULL, 
	ulid VARCHAR(26) NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (folder, purpose)
);
INSERT INTO "cursors" VALUES('segments/1/anonymous/','live','01M8958EAD5TVC9T6BWQFQ36ST',1795605000000);
CREATE TABLE damage (
	"key" TEXT NOT NULL, 
	hour VARCHAR(16) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	message TEXT NOT NULL, 
	found_ms BIGINT NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE decisions (
	id INTEGER NOT NULL, 
	at_ms BIGINT NOT NULL, 
	author TEXT NOT NULL, 
	action VARCHAR(16) NOT NULL, 
	subject TEXT NOT NULL, 
	why TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "decisions" VALUES(1,1795601400000,'tests','forget','segments/1/anonymous/01M8921JT5GRMC7JJANBK21FEQ/block.bin','made up');
CREATE TABLE facts (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "facts" VALUES('mode','{"mode": "own", "since_ms": null, "bounds": {}}',1795169400000);
INSERT INTO "facts" VALUES('first_hour','2026-11-20-09:00',1795169400000);
INSERT INTO "facts" VALUES('configuration/9ee8f64385b136ba','{"values": {"source": "file:/srv/pyro-assets/0.1.0/bucket/", "archive": "file:/srv/pyro-assets/0.1.0/archive/", "compaction": "own", "dedup": "exact", "start_date": "2026-01-01-00:00", "job_blocks": "20", "job_mib": "64.0", "job_age_seconds": "5.0", "lanes": "1", "rules of the file": "fef822bc74d7", "receivers": "local (6abbb6)"}, "who": "tick on vm (process 25276)", "first_ms": 1795605000000}',1795605000000);
INSERT INTO "facts" VALUES('rule_versions_kept','3',0);
INSERT INTO "facts" VALUES('receiver:local:ok_ms','1795605000000',1795605000000);
CREATE TABLE hour_objects (
	unit INTEGER NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	position INTEGER NOT NULL, 
	block_id VARCHAR(26) NOT NULL, 
	"key" TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	crc32c BIGINT NOT NULL, 
	PRIMARY KEY (unit, kind, position), 
	FOREIGN KEY(unit) REFERENCES hour_units (id)
);
CREATE TABLE hour_units (
	id INTEGER NOT NULL, 
	hour VARCHAR(16) NOT NULL, 
	shard BIGINT NOT NULL, 
	tenant TEXT NOT NULL, 
	jobs INTEGER NOT NULL, 
	first_job_ms BIGINT NOT NULL, 
	profiles BIGINT NOT NULL, 
	samples BIGINT NOT NULL, 
	oldest_ms BIGINT NOT NULL, 
	newest_ms BIGINT NOT NULL, 
	removed_ms BIGINT, 
	PRIMARY KEY (id)
);
CREATE TABLE hour_upkeep (
	hour VARCHAR(16) NOT NULL, 
	series_number INTEGER DEFAULT '0' NOT NULL, 
	table_ms BIGINT, 
	hour_blocks_ms BIGINT, 
	series_removed_ms BIGINT, 
	blocks_removed_ms BIGINT, 
	scrubbed_ms BIGINT, 
	listed_ms BIGINT, 
	collapsed_ms BIGINT, 
	figures TEXT, 
	PRIMARY KEY (hour)
);
INSERT INTO "hour_upkeep" VALUES('2026-11-20-09:00',2,1795602000000,NULL,1795602000000,1795602000000,NULL,1795169400000,1795602000000,'{"hour": "2026-11-20-09:00", "shards": 1, "sources_by_state": {"done": 3}, "jobs_by_state": {"exported": 1}, "blocks": 1, "bytes_in": 47720, "bytes_out": 33156, "profiles": 15, "samples": 461, "duplicates": 0, "conflicts": 0, "series": {"dimension": 15, "function": 55}, "job_seconds": 0.7089539580001656, "oldest_ms": 1795165765221, "newest_ms": 1795167831001, "pending": 0, "undone_jobs": 0, "oldest_pending_ms": null, "unheld_total": 0, "unheld": [], "services": [["initech", "report-builder", 108, 6], ["initech", "scheduler", 353, 0]], "facts": {"skipped_zero_series": 11}, "examples": [], "listed_ms": 1795169400000}');
INSERT INTO "hour_upkeep" VALUES('2026-11-25-09:00',1,1795602000000,NULL,NULL,NULL,NULL,1795601400000,NULL,NULL);
INSERT INTO "hour_upkeep" VALUES('2026-11-25-10:00',0,NULL,NULL,NULL,NULL,NULL,1795605000000,NULL,NULL);
CREATE TABLE job_sources (
	source_id INTEGER NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	PRIMARY KEY (source_id), 
	CONSTRAINT uq_job_sources_position UNIQUE (job_id, position), 
	FOREIGN KEY(source_id) REFERENCES sources (id), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "job_sources" VALUES(4,'fc5769610086e5ccb1ce557549e66773',0);
INSERT INTO "job_sources" VALUES(5,'fc5769610086e5ccb1ce557549e66773',1);
INSERT INTO "job_sources" VALUES(6,'fc5769610086e5ccb1ce557549e66773',2);
INSERT INTO "job_sources" VALUES(7,'fc5769610086e5ccb1ce557549e66773',3);
INSERT INTO "job_sources" VALUES(8,'fe4caa6d4a34623491bf156ffa757ad5',0);
INSERT INTO "job_sources" VALUES(9,'fe4caa6d4a34623491bf156ffa757ad5',1);
INSERT INTO "job_sources" VALUES(10,'fe4caa6d4a34623491bf156ffa757ad5',2);
CREATE TABLE jobs (
	id VARCHAR(64) NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	shard BIGINT NOT NULL, 
	tenant TEXT NOT NULL, 
	hour VARCHAR(16) NOT NULL, 
	timestamp_ms BIGINT NOT NULL, 
	mode VARCHAR(8) NOT NULL, 
	dedup VARCHAR(8) NOT NULL, 
	parent VARCHAR(64), 
	sources INTEGER NOT NULL, 
	bytes_in BIGINT NOT NULL, 
	first_created_ms BIGINT NOT NULL, 
	last_created_ms BIGINT NOT NULL, 
	planned_ms BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_attempt_ms BIGINT NOT NULL, 
	run_id TEXT, 
	lease_expires_ms BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	compacted_ms BIGINT, 
	derived_ms BIGINT, 
	exported_ms BIGINT, 
	asked_ms BIGINT, 
	verified_ms BIGINT, 
	config_hash VARCHAR(64), 
	blocks_removed_ms BIGINT, 
	instance VARCHAR(16), 
	blocks INTEGER NOT NULL, 
	bytes_out BIGINT NOT NULL, 
	profiles BIGINT NOT NULL, 
	samples BIGINT NOT NULL, 
	duplicates BIGINT NOT NULL, 
	conflicts BIGINT NOT NULL, 
	oldest_ms BIGINT, 
	newest_ms BIGINT, 
	compact_seconds FLOAT NOT NULL, 
	derive_seconds FLOAT NOT NULL, 
	services TEXT, 
	level INTEGER, 
	compares INTEGER, 
	compact_facts TEXT, 
	derive_facts TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT uq_jobs_timestamp UNIQUE (shard, tenant, timestamp_ms)
);
INSERT INTO "jobs" VALUES('fc5769610086e5ccb1ce557549e66773','segments',1,'','2026-11-25-09:00',1795597202760,'own','exact',NULL,4,75874,1795597202760,1795600468805,1795601400000,'exported',0,0,'run-2026-11-25-09:00',0,1,1795601400000,1795601400000,1795601400000,1795601400000,NULL,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,'abc0cb31853a3dcd',1,34724,17,447,0,0,1795597192722,1795598268247,4.64965209998808859381e-02,1.97451340000043273903e-02,'[["initech", "report-builder", 202, 6], ["initech", "scheduler", 245, 0]]',NULL,NULL,NULL,'{"skipped_zero_series": 15}');
INSERT INTO "jobs" VALUES('fe4caa6d4a34623491bf156ffa757ad5','segments',1,'','2026-11-25-10:00',1795601519070,'own','exact',NULL,3,54885,1795601519070,1795603839309,1795605000000,'exported',0,0,'run-2026-11-25-10:00',0,1,1795605000000,1795605000000,1795605000000,1795605000000,NULL,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,'abc0cb31853a3dcd',1,36863,22,590,4,0,1795601508595,1795603829271,5.62948829997367283795e-02,1.81968179999785206746e-02,'[["initech", "report-builder", 206, 6], ["initech", "scheduler", 384, 0]]',NULL,NULL,NULL,'{"skipped_zero_series": 18}');
CREATE TABLE outputs (
	job_id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	tenant TEXT NOT NULL, 
	block_id VARCHAR(26) NOT NULL, 
	"key" TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	crc32c BIGINT NOT NULL, 
	profiles BIGINT NOT NULL, 
	samples BIGINT NOT NULL, 
	hour_unit BIGINT, 
	PRIMARY KEY (job_id, position), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "outputs" VALUES('fc5769610086e5ccb1ce557549e66773',0,'initech','01M88YXXA8NA7R1ZBVSW2JHTG4','blocks/1/initech/01M88YXXA8NA7R1ZBVSW2JHTG4/block.bin',34724,3243745679,17,447,NULL);
INSERT INTO "outputs" VALUES('fe4caa6d4a34623491bf156ffa757ad5',0,'initech','01M8931MEY98QJZAPQ364A47S7','blocks/1/initech/01M8931MEY98QJZAPQ364A47S7/block.bin',36863,3991525072,22,590,NULL);
CREATE TABLE quarantine (
	subject VARCHAR(8) NOT NULL, 
	subject_id TEXT NOT NULL, 
	job_id VARCHAR(64), 
	hour VARCHAR(16) NOT NULL, 
	cause TEXT NOT NULL, 
	message TEXT NOT NULL, 
	section TEXT, 
	"offset" BIGINT, 
	failures INTEGER NOT NULL, 
	first_failed_ms BIGINT NOT NULL, 
	last_failed_ms BIGINT NOT NULL, 
	given_up INTEGER NOT NULL, 
	released_ms BIGINT, 
	PRIMARY KEY (subject, subject_id)
);
INSERT INTO "quarantine" VALUES('source','segments/1/anonymous/01M8921JT5GRMC7JJANBK21FEQ/block.bin','fc5769610086e5ccb1ce557549e66773','2026-11-25-09:00','BadLength','length of the metadata (segments/1/anonymous/01M8921JT5GRMC7JJANBK21FEQ/block.bin, section footer at byte 17903): expected at most 17903, found 1886730867; the source is set aside and everything else goes on; upload it again or read it with `pyro-assets verify`','footer',17903,1,1795601400000,1795601400000,1,1795601400000);
CREATE TABLE receipts (
	job_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	rule TEXT NOT NULL, 
	receiver TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	samples BIGINT NOT NULL, 
	accepted BIGINT NOT NULL, 
	refused BIGINT NOT NULL, 
	sample_hash VARCHAR(64), 
	attempts INTEGER NOT NULL, 
	first_ms BIGINT, 
	last_ms BIGINT, 
	detail TEXT, 
	file_ms BIGINT, 
	PRIMARY KEY (job_id, kind, rule, receiver), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "receipts" VALUES('fc5769610086e5ccb1ce557549e66773','dimension','','local','sent',17,17,0,'9b24c319b3ec7c4f02467fa24a7a46296e34d95608b9c9531c7d5036ae9ba558',1,1795601400000,1795601400000,'{"cost": {"answer_seconds": 0.007953, "bytes": 675, "requests": 1, "retries": 0, "seconds": 0.008068}, "rules": {"dimensions": [17, "9b24c319b3ec7c4f02467fa24a7a46296e34d95608b9c9531c7d5036ae9ba558"]}}',1795601400000);
INSERT INTO "receipts" VALUES('fc5769610086e5ccb1ce557549e66773','function','','local','sent',51,51,0,'65a9d94861bb1f5cd2a3acc0a90aaa3d3af9664676dc70d0fdfde4e6c7aa8d49',1,1795601400000,1795601400000,'{"cost": {"answer_seconds": 0.012474, "bytes": 1512, "requests": 1, "retries": 0, "seconds": 0.0126}, "rules": {"function:runtime.gcDrain": [2, "1b32d27571b97c2b635195abdd761a3df5838c8a78e2f60ebebcc80018f0b169"], "memory": [49, "9837ad54e95906ca3ca7b3e1593bd3185d5271ed8de69972a0092471261444dd"]}}',1795601400000);
INSERT INTO "receipts" VALUES('fe4caa6d4a34623491bf156ffa757ad5','dimension','','local','sent',22,22,0,'e913bd12e16a4391197ca4d92d56a294ccd7f202bc32b616487f564f8e7607e9',1,1795605000000,1795605000000,'{"cost": {"answer_seconds": 0.012168, "bytes": 779, "requests": 1, "retries": 0, "seconds": 0.012262}, "rules": {"dimensions": [22, "e913bd12e16a4391197ca4d92d56a294ccd7f202bc32b616487f564f8e7607e9"]}}',1795605000000);
INSERT INTO "receipts" VALUES('fe4caa6d4a34623491bf156ffa757ad5','function','','local','sent',54,54,0,'7709574a5e4303715e51cdd855e9239731c4be716ddee8de25a0442083e45dc7',1,1795605000000,1795605000000,'{"cost": {"answer_seconds": 0.004566, "bytes": 1567, "requests": 1, "retries": 0, "seconds": 0.004635}, "rules": {"function:runtime.gcDrain": [4, "fb607359de8c5c7d2e05d4f33e23648321ba591c12f3ec1d9a36862269cc23d9"], "memory": [50, "7e2bf8b1075e2049d17af5543e6161123fbc9c34d1f37f1433b570a6dccdef6b"]}}',1795605000000);
CREATE TABLE refused_series (
	receiver TEXT NOT NULL, 
	tenant TEXT NOT NULL, 
	series BIGINT NOT NULL, 
	noted_ms BIGINT NOT NULL, 
	PRIMARY KEY (receiver, tenant, series)
);
CREATE TABLE rule_snapshots (
	hash VARCHAR(64) NOT NULL, 
	rules TEXT NOT NULL, 
	body TEXT NOT NULL, 
	at_ms BIGINT NOT NULL, 
	PRIMARY KEY (hash)
);
INSERT INTO "rule_snapshots" VALUES('338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51','{"dimensions": "90cf4783fecc8a5867306490dc9c38758b020ef466ddbf8f961b15a95293fe2f", "function:runtime.gcDrain": "841a28a5c685e21c2d47a07df0ee18d31ebd46154865f63110f946a8e386a6a4", "memory": "0530469520f038dda8d3b56a3a6fda5e8cf2bf46d622be2d6358c59f30a6a3a0"}','{"dimensions":{"drop_labels":[],"keep_labels":null,"selectors":["{}"]},"functions":{"runtime.gcDrain":"{}"},"gauges":["inuse_*","goroutine","goroutines","live","live_*","threadcreate"],"recording_rules":[],"rules":[{"by":["service_name"],"functions":[{"glob":"runtime.*"}],"name":"memory"}]}',1795169400000);
CREATE TABLE rule_versions (
	name VARCHAR(100) NOT NULL, 
	version INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	deleted INTEGER NOT NULL, 
	author TEXT NOT NULL, 
	why TEXT NOT NULL, 
	at_ms BIGINT NOT NULL, 
	PRIMARY KEY (name, version)
);
INSERT INTO "rule_versions" VALUES('memory',1,'{"by": ["service_name"], "description": "version 0", "functions": [{"glob": "runtime.*"}], "name": "memory"}',0,'tests','made up',1795169400000);
INSERT INTO "rule_versions" VALUES('memory',2,'{"by": ["service_name"], "description": "version 1", "functions": [{"glob": "runtime.*"}], "name": "memory"}',0,'tests','made up',1795601400000);
INSERT INTO "rule_versions" VALUES('memory',3,'{"by": ["service_name"], "description": "version 2", "functions": [{"glob": "runtime.*"}], "name": "memory"}',0,'tests','made up',1795605000000);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	applied_ms BIGINT NOT NULL
);
INSERT INTO "schema_version" VALUES(11,1796119770588);
CREATE TABLE series_files (
	job_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	"key" TEXT, 
	rows BIGINT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	crc32c BIGINT, 
	config_hash VARCHAR(64), 
	later TEXT, 
	written_ms BIGINT NOT NULL, 
	PRIMARY KEY (job_id, kind), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "series_files" VALUES('fc5769610086e5ccb1ce557549e66773','dimension','series_table/kind=dimension/hour=2026-11-25T09/000001-0000.parquet',17,3366,1702717264,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,1795601400000);
INSERT INTO "series_files" VALUES('fc5769610086e5ccb1ce557549e66773','function','series_table/kind=function/hour=2026-11-25T09/000001-0000.parquet',51,3943,2373931322,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,1795601400000);
INSERT INTO "series_files" VALUES('fe4caa6d4a34623491bf156ffa757ad5','dimension','series/kind=dimension/hour=2026-11-25T10/fe4caa6d4a34623491bf156ffa757ad5.parquet',22,2762,3739248929,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,1795605000000);
INSERT INTO "series_files" VALUES('fe4caa6d4a34623491bf156ffa757ad5','function','series/kind=function/hour=2026-11-25T10/fe4caa6d4a34623491bf156ffa757ad5.parquet',54,3315,489822599,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,1795605000000);
CREATE TABLE sources (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	shard BIGINT NOT NULL, 
	tenant TEXT NOT NULL, 
	ulid VARCHAR(26) NOT NULL, 
	hour VARCHAR(16) NOT NULL, 
	created_ms BIGINT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	first_seen_ms BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO "sources" VALUES(4,'segments/1/anonymous/01M88YXXA8G116T6B7H61K5N8W/block.bin','segments',1,'','01M88YXXA8G116T6B7H61K5N8W','2026-11-25-09:00',1795597202760,17936,1795601400000,'done',NULL);
INSERT INTO "sources" VALUES(5,'segments/1/anonymous/01M88ZYR1R646WDBSD23MZ5BTK/block.bin','segments',1,'','01M88ZYR1R646WDBSD23MZ5BTK','2026-11-25-09:00',1795598278712,19220,1795601400000,'done',NULL);
INSERT INTO "sources" VALUES(6,'segments/1/anonymous/01M890YD5MRY7S8CPCTGBN0XGP/block.bin','segments',1,'','01M890YD5MRY7S8CPCTGBN0XGP','2026-11-25-09:00',1795599316148,20807,1795601400000,'lost','it was gone from the bucket before it was read');
INSERT INTO "sources" VALUES(7,'segments/1/anonymous/01M8921JT5GRMC7JJANBK21FEQ/block.bin','segments',1,'','01M8921JT5GRMC7JJANBK21FEQ','2026-11-25-09:00',1795600468805,17911,1795601400000,'set_aside','BadLength: length of the metadata (segments/1/anonymous/01M8921JT5GRMC7JJANBK21FEQ/block.bin, section footer at byte 17903): expected at most 17903, found 1886730867; the source is set aside and everything else goes on; upload it again or read it with `pyro-assets verify`');
INSERT INTO "sources" VALUES(8,'segments/1/anonymous/01M8931MEY6MVJAXS4Y2BAZ9DG/block.bin','segments',1,'','01M8931MEY6MVJAXS4Y2BAZ9DG','2026-11-25-10:00',1795601519070,18019,1795605000000,'done',NULL);
INSERT INTO "sources" VALUES(9,'segments/1/anonymous/01M8942V6KVEX4D0Y1BNA3A4FW/block.bin','segments',1,'','01M8942V6KVEX4D0Y1BNA3A4FW','2026-11-25-10:00',1795602607315,15506,1795605000000,'done',NULL);
INSERT INTO "sources" VALUES(10,'segments/1/anonymous/01M8958EAD5TVC9T6BWQFQ36ST/block.bin','segments',1,'','01M8958EAD5TVC9T6BWQFQ36ST','2026-11-25-10:00',1795603839309,21360,1795605000000,'done',NULL);
CREATE INDEX ix_sources_state ON sources (state, hour);
CREATE INDEX ix_jobs_derived ON jobs (derived_ms);
CREATE INDEX ix_jobs_hour ON jobs (hour);
CREATE INDEX ix_jobs_compacted ON jobs (compacted_ms);
CREATE INDEX ix_jobs_state ON jobs (state, hour);
CREATE INDEX ix_jobs_exported ON jobs (exported_ms);
CREATE INDEX ix_jobs_recovered ON jobs (shard, tenant) WHERE level IS NOT NULL AND blocks > 0;
CREATE INDEX ix_hour_units_hour ON hour_units (hour);
CREATE INDEX ix_damage_hour ON damage (hour);
CREATE INDEX ix_active_series_noted ON active_series (receiver, noted_ms);
CREATE INDEX ix_refused_series_noted ON refused_series (receiver, noted_ms);
CREATE INDEX ix_quarantine_hour ON quarantine (hour);
CREATE INDEX ix_decisions_subject ON decisions (subject);
CREATE INDEX ix_receipts_first ON receipts (first_ms);
COMMIT;
