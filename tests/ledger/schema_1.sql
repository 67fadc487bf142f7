-- A ledger as version 1 of the schema left it: one job derived, one planned, a source that waits, one given up.
BEGIN TRANSACTION;
CREATE TABLE cursors (
	folder TEXT NOT NULL, 
	purpose VARCHAR(16) NOT NULL, 
	ulid VARCHAR(26) NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (folder, purpose)
);
CREATE TABLE facts (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE job_sources (
	source_id INTEGER NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	PRIMARY KEY (source_id), 
	CONSTRAINT uq_job_sources_position UNIQUE (job_id, position), 
	FOREIGN KEY(source_id) REFERENCES sources (id), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "job_sources" VALUES(1,'957dea61e6562de2ec27b2a0d2738380',0);
INSERT INTO "job_sources" VALUES(2,'957dea61e6562de2ec27b2a0d2738380',1);
INSERT INTO "job_sources" VALUES(3,'957dea61e6562de2ec27b2a0d2738380',2);
INSERT INTO "job_sources" VALUES(4,'8653141b1560904c6c8b54907b70602d',0);
INSERT INTO "job_sources" VALUES(5,'8653141b1560904c6c8b54907b70602d',1);
INSERT INTO "job_sources" VALUES(6,'8653141b1560904c6c8b54907b70602d',2);
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
	verified_ms BIGINT, 
	config_hash VARCHAR(64), 
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
	compact_facts TEXT, 
	derive_facts TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT uq_jobs_timestamp UNIQUE (shard, tenant, timestamp_ms)
);
INSERT INTO "jobs" VALUES('957dea61e6562de2ec27b2a0d2738380','segments',4,'','2026-11-25-13:00',1795613370000,'own','exact',NULL,3,30,1795613370000,1795613390000,1795613400000,'derived',0,0,'run',0,1,1795613400000,1795613400000,NULL,NULL,'hash','0123456789abcdef',1,100,5,50,1,2,1795613340000,1795613400000,0.5,0.25,'[["acme", "web", 50, 5]]','{"dangling": 3}','{"negative_samples": 4, "examples": ["a collision"]}');
INSERT INTO "jobs" VALUES('8653141b1560904c6c8b54907b70602d','segments',9,'','2026-11-25-13:00',1795613372000,'own','exact',NULL,3,30,1795613372000,1795613374000,1795613400000,'planned',0,0,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,0,0,NULL,NULL,0.0,0.0,NULL,NULL,NULL);
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
	PRIMARY KEY (job_id, position), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "outputs" VALUES('957dea61e6562de2ec27b2a0d2738380',0,'acme','01M89EC6Y00000000000000000','blocks/4/acme/x/block.bin',100,7,5,50);
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
INSERT INTO "quarantine" VALUES('source','segments/4/anonymous/x/block.bin',NULL,'2026-11-25-13:00','Truncated','cut',NULL,NULL,3,1795613400000,1795613400000,1,NULL);
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
	PRIMARY KEY (job_id, kind, rule, receiver), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "receipts" VALUES('957dea61e6562de2ec27b2a0d2738380','dimension','','r','sent',11,11,0,'abc',1,1795613400000,1795613400000,NULL);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	applied_ms BIGINT NOT NULL
);
INSERT INTO "schema_version" VALUES(1,1795613400000);
CREATE TABLE series_files (
	job_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	"key" TEXT, 
	rows BIGINT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	config_hash VARCHAR(64), 
	written_ms BIGINT NOT NULL, 
	PRIMARY KEY (job_id, kind), 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "series_files" VALUES('957dea61e6562de2ec27b2a0d2738380','dimension','series/dimension',11,200,'hash',1795613400000);
INSERT INTO "series_files" VALUES('957dea61e6562de2ec27b2a0d2738380','function','series/function',11,200,'hash',1795613400000);
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
INSERT INTO "sources" VALUES(1,'segments/4/anonymous/01M89EB9MG0000000000000000/block.bin','segments',4,'','01M89EB9MG0000000000000000','2026-11-25-13:00',1795613370000,10,1795613400000,'done',NULL);
INSERT INTO "sources" VALUES(2,'segments/4/anonymous/01M89EBKD00000000000000000/block.bin','segments',4,'','01M89EBKD00000000000000000','2026-11-25-13:00',1795613380000,10,1795613400000,'done',NULL);
INSERT INTO "sources" VALUES(3,'segments/4/anonymous/01M89EBX5G0000000000000000/block.bin','segments',4,'','01M89EBX5G0000000000000000','2026-11-25-13:00',1795613390000,10,1795613400000,'done',NULL);
INSERT INTO "sources" VALUES(4,'segments/9/anonymous/01M89EBBK00000000000000000/block.bin','segments',9,'','01M89EBBK00000000000000000','2026-11-25-13:00',1795613372000,10,1795613400000,'planned',NULL);
INSERT INTO "sources" VALUES(5,'segments/9/anonymous/01M89EBCJ80000000000000000/block.bin','segments',9,'','01M89EBCJ80000000000000000','2026-11-25-13:00',1795613373000,10,1795613400000,'planned',NULL);
INSERT INTO "sources" VALUES(6,'segments/9/anonymous/01M89EBDHG0000000000000000/block.bin','segments',9,'','01M89EBDHG0000000000000000','2026-11-25-13:00',1795613374000,10,1795613400000,'planned',NULL);
INSERT INTO "sources" VALUES(7,'segments/5/anonymous/01M89EC5YR0000000000000000/block.bin','segments',5,'','01M89EC5YR0000000000000000','2026-11-25-13:00',1795613399000,10,1795613400000,'pending',NULL);
CREATE INDEX ix_sources_state ON sources (state, hour);
CREATE INDEX ix_jobs_state ON jobs (state, hour);
CREATE INDEX ix_jobs_hour ON jobs (hour);
CREATE INDEX ix_quarantine_hour ON quarantine (hour);
COMMIT;
