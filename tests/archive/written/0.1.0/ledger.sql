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
INSERT INTO "collapsed_sources" VALUES('segments',1,'','2026-11-20-09:00',X'5CB3A04B506E59F97968FBE743C0B53FC88DD47F12EE971DD0BCA34632D0514E',X'000001A1F832D90E');
CREATE TABLE cursors (
	folder TEXT NOT NULL, 
	purpose VARCHAR(16) NOT NULL, 
	ulid VARCHAR(26) NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (folder, purpose)
);
INSERT INTO "cursors" VALUES('segments/1/anonymous/','live','01M894PTP7AMR0XJRN7D403BGY',1795605000000);
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
INSERT INTO "decisions" VALUES(1,1795601400000,'tests','forget','segments/1/anonymous/01M8924BQZ1N4S5Y4NKHFJVECQ/block.bin','made up');
CREATE TABLE facts (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "facts" VALUES('mode','{"mode": "own", "since_ms": null, "bounds": {}}',1795169400000);
INSERT INTO "facts" VALUES('first_hour','2026-11-20-09:00',1795169400000);
INSERT INTO "facts" VALUES('configuration/36e83ebce9a53d02','{"values": {"source": "file:/srv/pyro-assets/0.1.0/bucket/", "archive": "file:/srv/pyro-assets/0.1.0/archive/", "compaction": "own", "dedup": "exact", "start_date": "2026-01-01-00:00", "job_blocks": "20", "job_mib": "64.0", "job_age_seconds": "5.0", "lanes": "1", "rules of the file": "fef822bc74d7", "receivers": "local (d2b7c2)"}, "who": "tick on vm (process 10170)", "first_ms": 1795605000000}',1795605000000);
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
INSERT INTO "hour_objects" VALUES(1,'block',0,'01M88ZWX968SV7VKTZ9QFPV4NQ','hour_blocks/2026-11-25T09/1/initech/01M88ZWX968SV7VKTZ9QFPV4NQ/block.bin',19361,3618344961);
INSERT INTO "hour_objects" VALUES(1,'summary',0,'01M88ZWX968SV7VKTZ9QFPV4NQ','hour_blocks/2026-11-25T09/1/initech/01M88ZWX968SV7VKTZ9QFPV4NQ/summary.bin',19556,3223036827);
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
INSERT INTO "hour_units" VALUES(1,'2026-11-25-09:00',1,'initech',1,1795598218534,8,252,1795598208082,1795598208082,NULL);
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
INSERT INTO "hour_upkeep" VALUES('2026-11-20-09:00',2,1795602000000,NULL,1795602000000,1795602000000,NULL,1795169400000,1795602000000,'{"hour": "2026-11-20-09:00", "shards": 1, "sources_by_state": {"done": 4}, "jobs_by_state": {"exported": 1}, "blocks": 1, "bytes_in": 105059, "bytes_out": 39575, "profiles": 29, "samples": 773, "duplicates": 26, "conflicts": 0, "series": {"dimension": 29, "function": 55}, "job_seconds": 0.5782892520001042, "oldest_ms": 1795165433946, "newest_ms": 1795168661564, "pending": 0, "undone_jobs": 0, "oldest_pending_ms": null, "unheld_total": 0, "unheld": [], "services": [["initech", "report-builder", 412, 12], ["initech", "scheduler", 361, 0]], "facts": {"skipped_zero_series": 25}, "examples": [], "listed_ms": 1795169400000}');
INSERT INTO "hour_upkeep" VALUES('2026-11-25-09:00',1,1795602000000,1795602000000,NULL,NULL,NULL,1795601400000,NULL,NULL);
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
INSERT INTO "job_sources" VALUES(5,'016db3eee9072a9bbf01ecdec6fb2ce7',0);
INSERT INTO "job_sources" VALUES(6,'016db3eee9072a9bbf01ecdec6fb2ce7',1);
INSERT INTO "job_sources" VALUES(7,'016db3eee9072a9bbf01ecdec6fb2ce7',2);
INSERT INTO "job_sources" VALUES(8,'020dabb72a7ef1ea8edc2d2293fbabff',0);
INSERT INTO "job_sources" VALUES(9,'020dabb72a7ef1ea8edc2d2293fbabff',1);
INSERT INTO "job_sources" VALUES(10,'020dabb72a7ef1ea8edc2d2293fbabff',2);
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
INSERT INTO "jobs" VALUES('016db3eee9072a9bbf01ecdec6fb2ce7','segments',1,'','2026-11-25-09:00',1795598218534,'own','exact',NULL,3,56113,1795598218534,1795600559871,1795601400000,'exported',0,0,'run-2026-11-25-09:00',0,1,1795601400000,1795601400000,1795601400000,1795601400000,NULL,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,'abc0cb31853a3dcd',1,19361,8,252,0,0,1795598208082,1795598208082,5.78684759993848274461e-02,2.96726379992833244614e-02,'[["initech", "scheduler", 252, 0]]',NULL,NULL,NULL,'{"skipped_zero_series": 6}');
INSERT INTO "jobs" VALUES('020dabb72a7ef1ea8edc2d2293fbabff','segments',1,'','2026-11-25-10:00',1795601855266,'own','exact',NULL,3,51173,1795601855266,1795603262151,1795605000000,'exported',0,0,'run-2026-11-25-10:00',0,1,1795605000000,1795605000000,1795605000000,1795605000000,NULL,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,'abc0cb31853a3dcd',1,35730,19,571,0,0,1795601845106,1795603251869,1.13520851999965088907e-01,4.85842299995056237094e-02,'[["initech", "report-builder", 206, 6], ["initech", "scheduler", 365, 0]]',NULL,NULL,NULL,'{"skipped_zero_series": 15}');
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
INSERT INTO "outputs" VALUES('016db3eee9072a9bbf01ecdec6fb2ce7',0,'initech','01M88ZWX96YH8KJBZVFN6M1FK2','blocks/1/initech/01M88ZWX96YH8KJBZVFN6M1FK2/block.bin',19361,3632288142,8,252,1);
INSERT INTO "outputs" VALUES('020dabb72a7ef1ea8edc2d2293fbabff',0,'initech','01M893BWS2YG29W2PVZC4JD6XF','blocks/1/initech/01M893BWS2YG29W2PVZC4JD6XF/block.bin',35730,3891305465,19,571,NULL);
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
INSERT INTO "quarantine" VALUES('source','segments/1/anonymous/01M8924BQZ1N4S5Y4NKHFJVECQ/block.bin','016db3eee9072a9bbf01ecdec6fb2ce7','2026-11-25-09:00','BadLength','length of the metadata (segments/1/anonymous/01M8924BQZ1N4S5Y4NKHFJVECQ/block.bin, section footer at byte 14325): expected at most 14325, found 1668314426; the source is set aside and everything else goes on; upload it again or read it with `pyro-assets verify`','footer',14325,1,1795601400000,1795601400000,1,1795601400000);
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
INSERT INTO "receipts" VALUES('016db3eee9072a9bbf01ecdec6fb2ce7','dimension','','local','sent',8,8,0,'13b1929697aa08be7ee8a1107d3205fbd07c5cbd4950eca1746d82c79805d083',1,1795601400000,1795601400000,'{"cost": {"answer_seconds": 0.022091, "bytes": 448, "requests": 1, "retries": 0, "seconds": 0.022216}, "rules": {"dimensions": [8, "13b1929697aa08be7ee8a1107d3205fbd07c5cbd4950eca1746d82c79805d083"]}}',1795601400000);
INSERT INTO "receipts" VALUES('016db3eee9072a9bbf01ecdec6fb2ce7','function','','local','sent',48,48,0,'8abbe87407163465d35957c3121f041f4d9f2b5cd85e08dbc7dd874ae600b490',1,1795601400000,1795601400000,'{"cost": {"answer_seconds": 0.010068, "bytes": 1436, "requests": 1, "retries": 0, "seconds": 0.010204}, "rules": {"function:runtime.gcDrain": [2, "1403aedd0772fd0c6d04d10233212383d7f5c70c19a1ba327d01f0420ba1e322"], "memory": [46, "6103ac376b841d746b1104346debead3d30d6028a23727ad4ac3a2b075493ffe"]}}',1795601400000);
INSERT INTO "receipts" VALUES('020dabb72a7ef1ea8edc2d2293fbabff','dimension','','local','sent',19,19,0,'de640d4fc55d77c039ffc03ecf4d80b0bffa5b19ff5a3bbc891534ae726ab2db',1,1795605000000,1795605000000,'{"cost": {"answer_seconds": 0.010626, "bytes": 719, "requests": 1, "retries": 0, "seconds": 0.010762}, "rules": {"dimensions": [19, "de640d4fc55d77c039ffc03ecf4d80b0bffa5b19ff5a3bbc891534ae726ab2db"]}}',1795605000000);
INSERT INTO "receipts" VALUES('020dabb72a7ef1ea8edc2d2293fbabff','function','','local','sent',55,55,0,'b1fa26a3a033e104c5de3198c08276269e81f5d185ab7c384f003bf4e5ad0658',1,1795605000000,1795605000000,'{"cost": {"answer_seconds": 0.016983, "bytes": 1634, "requests": 1, "retries": 0, "seconds": 0.017099}, "rules": {"function:runtime.gcDrain": [4, "7d71f51ec8836015d1fd925f6583c95ca11c95e5aede25b56dd4b8d25c0952a3"], "memory": [51, "12ef011fc1b84dd49079caf6314f3fb23af264d9d4c1e5abc41898df22113efe"]}}',1795605000000);
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
INSERT INTO "schema_version" VALUES(11,1796121082681);
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
INSERT INTO "series_files" VALUES('016db3eee9072a9bbf01ecdec6fb2ce7','dimension','series_table/kind=dimension/hour=2026-11-25T09/000001-0000.parquet',8,3180,1254367522,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,1795601400000);
INSERT INTO "series_files" VALUES('016db3eee9072a9bbf01ecdec6fb2ce7','function','series_table/kind=function/hour=2026-11-25T09/000001-0000.parquet',48,3920,3545469025,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,1795601400000);
INSERT INTO "series_files" VALUES('020dabb72a7ef1ea8edc2d2293fbabff','dimension','series/kind=dimension/hour=2026-11-25T10/020dabb72a7ef1ea8edc2d2293fbabff.parquet',19,2704,1451703917,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,1795605000000);
INSERT INTO "series_files" VALUES('020dabb72a7ef1ea8edc2d2293fbabff','function','series/kind=function/hour=2026-11-25T10/020dabb72a7ef1ea8edc2d2293fbabff.parquet',55,3383,2803434362,'338ab7b3169ff16c097ca660dc752db178c13d05d1c6b09a5888045cf3624d51',NULL,1795605000000);
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
INSERT INTO "sources" VALUES(5,'segments/1/anonymous/01M88ZWX962WM06QB9PJTR5VYV/block.bin','segments',1,'','01M88ZWX962WM06QB9PJTR5VYV','2026-11-25-09:00',1795598218534,19382,1795601400000,'done',NULL);
INSERT INTO "sources" VALUES(6,'segments/1/anonymous/01M890S4XK0GD1NRMYMJ5SFFPR/block.bin','segments',1,'','01M890S4XK0GD1NRMYMJ5SFFPR','2026-11-25-09:00',1795599143859,22398,1795601400000,'lost','it was gone from the bucket before it was read');
INSERT INTO "sources" VALUES(7,'segments/1/anonymous/01M8924BQZ1N4S5Y4NKHFJVECQ/block.bin','segments',1,'','01M8924BQZ1N4S5Y4NKHFJVECQ','2026-11-25-09:00',1795600559871,14333,1795601400000,'set_aside','BadLength: length of the metadata (segments/1/anonymous/01M8924BQZ1N4S5Y4NKHFJVECQ/block.bin, section footer at byte 14325): expected at most 14325, found 1668314426; the source is set aside and everything else goes on; upload it again or read it with `pyro-assets verify`');
INSERT INTO "sources" VALUES(8,'segments/1/anonymous/01M893BWS2TVZ09DRKZTA1G1ZG/block.bin','segments',1,'','01M893BWS2TVZ09DRKZTA1G1ZG','2026-11-25-10:00',1795601855266,17969,1795605000000,'done',NULL);
INSERT INTO "sources" VALUES(9,'segments/1/anonymous/01M893W8QRKN1M0HC053MR3FPS/block.bin','segments',1,'','01M893W8QRKN1M0HC053MR3FPS','2026-11-25-10:00',1795602391800,13920,1795605000000,'done',NULL);
INSERT INTO "sources" VALUES(10,'segments/1/anonymous/01M894PTP7AMR0XJRN7D403BGY/block.bin','segments',1,'','01M894PTP7AMR0XJRN7D403BGY','2026-11-25-10:00',1795603262151,19284,1795605000000,'done',NULL);
CREATE INDEX ix_sources_state ON sources (state, hour);
CREATE INDEX ix_jobs_hour ON jobs (hour);
CREATE INDEX ix_jobs_compacted ON jobs (compacted_ms);
CREATE INDEX ix_jobs_state ON jobs (state, hour);
CREATE INDEX ix_jobs_exported ON jobs (exported_ms);
CREATE INDEX ix_jobs_recovered ON jobs (shard, tenant) WHERE level IS NOT NULL AND blocks > 0;
CREATE INDEX ix_jobs_derived ON jobs (derived_ms);
CREATE INDEX ix_hour_units_hour ON hour_units (hour);
CREATE INDEX ix_damage_hour ON damage (hour);
CREATE INDEX ix_active_series_noted ON active_series (receiver, noted_ms);
CREATE INDEX ix_refused_series_noted ON refused_series (receiver, noted_ms);
CREATE INDEX ix_quarantine_hour ON quarantine (hour);
CREATE INDEX ix_decisions_subject ON decisions (subject);
CREATE INDEX ix_receipts_first ON receipts (first_ms);
COMMIT;
