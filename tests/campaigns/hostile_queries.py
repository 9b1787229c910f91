"""Queries that would do more than read, by connector type. `{trip}` is a folder that the source may write to.

Those of `BY_RIGHTS` are stopped by the account's rights alone; or, with a strong account that the operator allows, by a
check of the names in the text.
"""

_TOUCH = "touch {trip}/program"

_POSTGRESQL = rf"""
INSERT INTO prey VALUES (9, 'x') RETURNING id
UPDATE prey SET name = 'x' RETURNING id
DELETE FROM prey RETURNING id
TRUNCATE prey
MERGE INTO prey USING (SELECT 1 AS id) AS s ON prey.id = s.id WHEN MATCHED THEN DELETE
WITH gone AS (DELETE FROM prey RETURNING id) SELECT * FROM gone
WITH new AS (INSERT INTO prey VALUES (9, 'x') RETURNING id) SELECT * FROM new
WITH RECURSIVE r AS (SELECT 1 AS id), d AS (UPDATE prey SET name = 'x' RETURNING id) SELECT r.id FROM r, d
SELECT * INTO copied FROM prey
SELECT id INTO TEMP copied FROM prey
CREATE TABLE copied AS SELECT * FROM prey
CREATE TEMP TABLE copied (id int)
CREATE VIEW seen AS SELECT * FROM prey
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
DROP TABLE prey
ALTER TABLE prey ADD COLUMN x int
GRANT ALL ON prey TO PUBLIC
SELECT id FROM prey FOR UPDATE
SELECT id FROM prey FOR NO KEY UPDATE
SELECT id FROM prey FOR SHARE
SELECT id FROM prey FOR KEY SHARE SKIP LOCKED
SELECT nextval('counter') AS id
SELECT setval('counter', 99) AS id
SELECT writes() AS id
SELECT writes_as_owner() AS id
SELECT * FROM prey WHERE writes() > 0
SELECT (SELECT writes()) AS id
SELECT query_to_xml('DELETE FROM prey RETURNING id', true, true, '')::text AS id
SELECT query_to_xml('SELECT writes()', true, true, '')::text AS id
SELECT database_to_xml(true, true, '')::text AS id
SELECT ts_stat('SELECT to_tsvector(name) FROM prey')::text AS id
SELECT * FROM crosstab('DELETE FROM prey RETURNING id, id, id') AS t (id int, a int)
SELECT set_config('transaction_read_only', 'off', false), writes() AS id
SELECT set_config('transaction_read_only', 'off', true) AS a, nextval('counter') AS id
SELECT set_config('default_transaction_read_only', 'off', false) AS id
SELECT set_config('role', 'postgres', false) AS id
SELECT set_config('session_authorization', 'postgres', false) AS id
SELECT set_config('statement_timeout', '0', false) AS a, pg_sleep(600)::text AS id
SELECT set_config('search_path', 'pg_temp', false) AS id
SELECT pg_sleep(600)::text AS id
SELECT pg_sleep_for('10 minutes')::text AS id
SELECT count(*) AS id FROM generate_series(1, 100000000000) AS n
SELECT pg_advisory_lock(7)::text AS id
SELECT pg_advisory_xact_lock(7)::text AS id
SELECT pg_try_advisory_lock_shared(7) AS id
SELECT pg_notify('heard', 'x')::text AS id
NOTIFY heard
LISTEN heard
UNLISTEN *
DO $$ BEGIN DELETE FROM prey; END $$
DO LANGUAGE plpgsql 'BEGIN DELETE FROM prey; END'
CALL erases()
EXPLAIN ANALYZE DELETE FROM prey
EXECUTE planned
PREPARE planned AS DELETE FROM prey
DECLARE c CURSOR WITH HOLD FOR SELECT 1
FETCH ALL FROM c
LOCK TABLE prey IN ACCESS EXCLUSIVE MODE
VACUUM prey
ANALYZE prey
CLUSTER
REINDEX TABLE prey
CHECKPOINT
DISCARD ALL
COMMIT
ROLLBACK; DELETE FROM prey
BEGIN; DELETE FROM prey; COMMIT
SELECT 1 AS id; DELETE FROM prey
SELECT 1 AS id; COMMIT; DELETE FROM prey; SELECT 1
SELECT 1 AS id) AS q; COMMIT; DELETE FROM prey; SELECT * FROM (SELECT 1
SELECT 1 AS id) AS q (c0) UNION SELECT writes() FROM (SELECT 1
SELECT 1 AS id -- ) AS q; DELETE FROM prey
SELECT 1 AS id /* /* */ ; DELETE FROM prey; */
SELECT 1 AS id /* ; */ ; DELETE FROM prey
SELECT $a$ $b$ ; $a$ AS id; DELETE FROM prey
SELECT E'\'' AS id; DELETE FROM prey; --'
SELECT U&'\0027' AS id; DELETE FROM prey
SELECT '\' AS id; DELETE FROM prey; --'
SET transaction_read_only = off
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE
SET ROLE postgres
RESET ALL
COPY prey TO '{{trip}}/copied'
COPY prey FROM '{{trip}}/copied'
COPY (SELECT 1) TO PROGRAM '{_TOUCH}'
COPY prey FROM PROGRAM '{_TOUCH}'
SELECT * FROM (COPY prey TO PROGRAM '{_TOUCH}') AS c
ALTER SYSTEM SET log_directory = '{{trip}}'
CREATE EXTENSION adminpack
LOAD 'dblink'
SELECT lo_create(0)::text AS id
SELECT lo_from_bytea(0, 'x')::text AS id
SELECT lo_put(lo_creat(-1), 0, 'x')::text AS id
SELECT lo_unlink(4711)::text AS id
SELECT pg_logical_emit_message(true, 'x', 'y')::text AS id
SELECT pg_export_snapshot() AS id
SELECT pg_cancel_backend(pid) AS id FROM pg_stat_activity WHERE pid = pg_backend_pid()
SELECT txid_current()::text AS id
SELECT repeat(repeat('x', 1000000), 2000) AS id
SELECT xmlparse(document '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>')::text AS id
TABLE prey; DROP TABLE prey
VALUES (writes())
"""
_POSTGRESQL_BY_RIGHTS = f"""
SELECT lo_export(4711, '{{trip}}/exported')::text AS id
SELECT lo_import('/etc/passwd')::text AS id
SELECT query_to_xml('SELECT lo_export(4711, ''{{trip}}/exported'')', true, true, '')::text AS id
SELECT pg_read_file('/etc/passwd') AS id
SELECT pg_read_binary_file('/etc/passwd') AS id
SELECT pg_ls_dir('/') AS id
SELECT dblink_exec('dbname=prey host={{host}} port={{port}} user=postgres password={{password}}',
  'DELETE FROM prey WHERE id = 1') AS id
SELECT * FROM dblink('dbname=prey host={{host}} port={{port}} user=postgres password={{password}}',
  $$COPY (SELECT 1) TO PROGRAM '{_TOUCH}'$$) AS t (id int)
SELECT pg_create_physical_replication_slot('kept', true)::text AS id
SELECT pg_switch_wal()::text AS id
SELECT pg_reload_conf() AS id
SELECT pg_rotate_logfile() AS id
SELECT pg_stat_reset()::text AS id
"""
_MYSQL = """
INSERT INTO prey VALUES (9, 'x')
INSERT INTO prey VALUES (9, 'x') RETURNING id
REPLACE INTO prey VALUES (1, 'x')
UPDATE prey SET name = 'x'
DELETE FROM prey
TRUNCATE prey
WITH new AS (SELECT 1 AS id) DELETE FROM prey
WITH new AS (SELECT 1 AS id) UPDATE prey SET name = 'x'
CREATE TABLE copied AS SELECT * FROM prey
CREATE TEMPORARY TABLE copied AS SELECT * FROM prey
CREATE OR REPLACE VIEW seen AS SELECT * FROM prey
CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1
DROP TABLE prey
ALTER TABLE prey ADD COLUMN x int
RENAME TABLE prey TO gone
GRANT ALL ON *.* TO CURRENT_USER()
FLUSH TABLES
ANALYZE TABLE prey
OPTIMIZE TABLE prey
SELECT id FROM prey FOR UPDATE
SELECT id FROM prey LOCK IN SHARE MODE
SELECT writes() AS id
SELECT (SELECT writes()) AS id
SELECT * FROM prey WHERE writes() > 0
SELECT SLEEP(600) AS id
SELECT BENCHMARK(1000000000000, SHA2('x', 512)) AS id
SELECT GET_LOCK('held', 1) AS id
SELECT RELEASE_ALL_LOCKS() AS id
SELECT IS_FREE_LOCK('held') AS id
SELECT @@read_only AS id, @x := 1
SELECT LAST_INSERT_ID(99) AS id
SELECT MASTER_POS_WAIT('x', 1, 600) AS id
SELECT UUID_SHORT() AS id
SELECT NEXTVAL(counter) AS id
SELECT NEXT VALUE FOR counter AS id
SELECT SETVAL(counter, 99) AS id
SELECT sys_exec('touch {trip}/program') AS id
SELECT sys_eval('touch {trip}/program') AS id
SELECT * FROM prey PROCEDURE ANALYSE()
SELECT id FROM prey INTO @taken
SELECT name INTO @taken FROM prey LIMIT 1
SELECT 1 AS id; DELETE FROM prey
SELECT 1 AS id; COMMIT; DELETE FROM prey
SELECT 1 AS id; SET SESSION TRANSACTION READ WRITE; DELETE FROM prey
SELECT 1 AS id /* ; */ ; DELETE FROM prey
SELECT '\\'' AS id; DELETE FROM prey; -- '
SELECT 1 AS id # ; DELETE FROM prey
SELECT 1 AS id --1 ; DELETE FROM prey
SELECT `a``; DELETE FROM prey; --` FROM (SELECT 1 AS `a``; DELETE FROM prey; --`) AS q
SELECT /*!50000 1 AS id; DELETE FROM prey */
SELECT /*M! SLEEP(600) AS */ id FROM prey
SELECT /*!99999 1 AS */ id FROM prey
/*! DELETE FROM prey */
SELECT /*+ SET_VAR(max_execution_time = 0) */ SLEEP(600) AS id
SET STATEMENT max_statement_time = 0 FOR SELECT SLEEP(600) AS id
SET GLOBAL general_log = 1
SET SESSION TRANSACTION READ WRITE
SET PASSWORD = 'x'
COMMIT
ROLLBACK
START TRANSACTION READ WRITE
PREPARE s FROM 'DELETE FROM prey'
EXECUTE IMMEDIATE 'DELETE FROM prey'
EXECUTE s
CALL erases()
DO SLEEP(600)
HANDLER prey OPEN
HANDLER prey READ FIRST
XA START 'x'
XA RECOVER
LOCK TABLES prey WRITE
GET DIAGNOSTICS @n = NUMBER
KILL CONNECTION_ID()
SHUTDOWN
INSTALL PLUGIN x SONAME 'x.so'
CREATE FUNCTION sys_exec RETURNS integer SONAME 'x.so'
LOAD DATA INFILE '/etc/passwd' INTO TABLE prey
LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE prey
EXPLAIN ANALYZE DELETE FROM prey
ANALYZE DELETE FROM prey
BEGIN NOT ATOMIC DELETE FROM prey; END
DELIMITER ;; DELETE FROM prey;;
USE mysql
SIGNAL SQLSTATE '45000'
BINLOG 'x'
VALUES ROW(writes())
TABLE prey; DELETE FROM prey
"""
_MYSQL_BY_RIGHTS = """
SELECT 'x' AS id INTO OUTFILE '{trip}/out'
SELECT 'x' AS id INTO DUMPFILE '{trip}/dumped'
SELECT id FROM prey INTO/**/OUTFILE '{trip}/out2' FIELDS TERMINATED BY ','
(SELECT 'x' AS id) UNION (SELECT 'y') INTO OUTFILE '{trip}/out3'
SELECT 'x' INTO OUTFILE '{trip}/out4' FROM prey LIMIT 1
SELECT LOAD_FILE('/etc/passwd') AS id
SELECT `LOAD_FILE`('/etc/passwd') AS id
SELECT load_file /* */ ('/etc/passwd') AS id
SELECT @a := lOaD_FiLe('/etc/passwd') AS id
SELECT NOT`LOAD_FILE`('/etc/passwd') AS id
SELECT 1.0INTO OUTFILE '{trip}/out5'
SELECT 1.INTO OUTFILE '{trip}/out6'
SELECT .5INTO OUTFILE '{trip}/out7'
SELECT 1.5e5INTO DUMPFILE '{trip}/out8'
SELECT \\NINTO OUTFILE '{trip}/out9'
SELECT 'x'INTO OUTFILE '{trip}/out10'
SELECT`id`into outfile '{trip}/out11' FROM prey
SELECT 1 AS`id`INTO/* ' */DUMPFILE '{trip}/out12'
SELECT DATE'2020-01-01'INTO OUTFILE '{trip}/out13'
WITH t AS (SELECT 1 AS id) SELECT * FROM t INTO OUTFILE '{trip}/out14'
VALUES (1) INTO OUTFILE '{trip}/out15'
"""
_MONGODB = """
{"$where": "sleep(600000) || true"}
{"$where": "this.constructor.constructor('return process')()"}
{"name": {"$where": "1"}}
{"$or": [{"$where": "1"}]}
{"$expr": {"$function": {"body": "function() { return 1 }", "args": [], "lang": "js"}}}
{"$expr": {"$eq": [{"$function": {"body": "1", "args": [], "lang": "js"}}, 1]}}
{"$expr": {"$accumulator": {"init": "1", "accumulate": "1", "merge": "1", "lang": "js"}}}
{"$expr": {"$lookup": {"from": "others", "as": "x"}}}
{"$expr": {"$let": {"vars": {"x": 1}, "in": "$$x"}}}
{"$expr": {"$map": {"input": [], "in": {"$function": {"body": "1", "args": [], "lang": "js"}}}}}
{"$expr": {"$getField": "x"}}
{"$expr": {"$rand": {}}}
{"$lookup": {"from": "others", "localField": "a", "foreignField": "b", "as": "c"}}
{"$graphLookup": {"from": "others", "startWith": "$a"}}
{"$unionWith": "others"}
{"$out": "stolen"}
{"$merge": {"into": "stolen"}}
{"$merge": {"into": {"db": "admin", "coll": "x"}}}
{"filter": {}, "$out": "stolen"}
{"filter": {"$out": "stolen"}}
{"filter": {}, "projection": {"x": {"$function": {"body": "1", "args": [], "lang": "js"}}}}
{"filter": {}, "projection": {"x": {"$meta": "textScore"}}}
{"filter": {}, "projection": {"x": "$name"}}
{"filter": {}, "sort": {"x": {"$meta": "textScore"}}}
{"filter": {}, "sort": {"$natural": -1}}
{"filter": {}, "hint": {"x": 1}}
{"filter": {}, "collation": {"locale": "de"}}
{"filter": {}, "let": {"x": 1}}
{"filter": {}, "tailable": true, "awaitData": true}
{"filter": {}, "oplogReplay": true}
{"filter": {}, "maxTimeMS": 0}
{"filter": {}, "$db": "admin"}
{"aggregate": "prey", "pipeline": [{"$out": "stolen"}], "cursor": {}}
{"delete": "prey", "deletes": [{"q": {}, "limit": 0}]}
{"insert": "prey", "documents": [{"_id": 9}]}
{"update": "prey", "updates": [{"q": {}, "u": {"$set": {"x": 1}}}]}
{"drop": "prey"}
{"mapReduce": "prey", "map": "1", "reduce": "1", "out": "stolen"}
{"eval": "db.prey.drop()"}
{"$eval": "db.prey.drop()"}
{"findAndModify": "prey", "remove": true}
{"shutdown": 1}
[{"$match": {}}, {"$out": "stolen"}]
[{"$out": "stolen"}]
{"$set": {"name": "x"}}
{"name": {"$set": "x"}}
{"$unset": {"name": 1}}
{"$inc": {"n": 1}}
{"$rename": {"name": "x"}}
{"name": {"$ref": "others", "$id": 1, "$db": "admin"}}
{"$text": {"$search": "x"}}
{"$jsonSchema": {"properties": {}}}
{"name": {"$near": [1, 1]}}
{"$comment": "x", "$query": {}, "$explain": true}
{"$query": {}, "$orderby": {"x": 1}}
{"name": {"$code": "db.prey.drop()"}}
{"name": {"$code": "db.prey.drop()", "$scope": {}}}
{"name": {"$regularExpression": {"pattern": "(a+)+$", "options": "x"}}}
{"name": {"$regex": "(a+)+$"}}
{"name": {"$regex": "(((((a+)+)+)+)+)+$"}}
{"\\u0024where": "1"}
{"$WHERE": "1"}
{" $where": "1"}
{"$ where": "1"}
{"$where\\u0000": "1"}
{"$expr": {"$literal": {"$function": {"body": "1"}}}}
{"x": {"$elemMatch": {"$where": "1"}}}
{"x": {"$not": {"$where": "1"}}}
{"$sampleRate": 0.5}
{"$currentOp": {}}
"""
_NEO4J = """
CREATE (n:Prey) RETURN n
MERGE (n:Prey {id: 99}) RETURN n
MATCH (n:Prey) SET n.name = 'x' RETURN n
MATCH (n:Prey) SET n:Changed RETURN n
MATCH (n:Prey) REMOVE n.name RETURN n
MATCH (n:Prey) DELETE n
MATCH (n:Prey) DETACH DELETE n
MATCH (n:Prey) NODETACH DELETE n RETURN 1 AS id
MATCH (n:Prey) FOREACH (x IN [1] | SET n.name = 'x') RETURN n
OPTIONAL MATCH (n:Gone) MERGE (m:Prey {id: 99}) RETURN m
WITH 1 AS x CREATE (n:Prey) RETURN n
UNWIND [1, 2] AS x CREATE (n:Prey {id: x}) RETURN n
RETURN 1 AS id UNION CREATE (n:Prey) RETURN 1 AS id
MATCH (n:Prey) CALL { WITH n DELETE n } RETURN 1 AS id
MATCH (n:Prey) CALL (n) { SET n.name = 'x' } RETURN 1 AS id
MATCH (n:Prey) CALL { WITH n DETACH DELETE n } IN TRANSACTIONS OF 1 ROWS RETURN 1 AS id
UNWIND [1] AS x CALL (x) { CREATE (:Prey) } IN 2 CONCURRENT TRANSACTIONS RETURN x
LOAD CSV FROM 'file:///etc/passwd' AS row RETURN row
WITH 1 AS x LOAD CSV FROM 'http://127.0.0.1:{port}/' AS row RETURN row
WITH 1 AS x LOAD CSV WITH HEADERS FROM 'http://127.0.0.1:{port}/' AS row CREATE (n:Prey) RETURN n
USING PERIODIC COMMIT LOAD CSV FROM 'file:///x' AS row CREATE (n:Prey)
CALL db.createLabel('Made') RETURN 1 AS id
MATCH (n:Prey) CALL db.createProperty('made') RETURN 1 AS id
RETURN 1 AS id UNION CALL db.createLabel('Made') RETURN 1 AS id
MATCH (n) CALL db.createRelationshipType('MADE') RETURN n
WITH 1 AS x CALL dbms.setConfigValue('db.tx_timeout', '1s') RETURN x
WITH 1 AS x CALL dbms.security.createUser('x', 'password1', false) RETURN x
WITH 1 AS x CALL dbms.security.changePassword('password1') RETURN x
WITH 1 AS x CALL dbms.killQuery('query-1') YIELD queryId RETURN x
WITH 1 AS x CALL dbms.killConnection('bolt-1') YIELD connectionId RETURN x
WITH 1 AS x CALL dbms.listConfig() YIELD name RETURN name
WITH 1 AS x CALL db.prepareForReplanning() RETURN x
WITH 1 AS x CALL db.clearQueryCaches() YIELD value RETURN x
WITH 1 AS x CALL db.index.fulltext.awaitEventuallyConsistentIndexRefresh() RETURN x
WITH 1 AS x CALL tx.setMetaData({a: 1}) RETURN x
WITH 1 AS x CALL apoc.create.node(['Prey'], {}) YIELD node RETURN node
WITH 1 AS x CALL apoc.load.json('http://127.0.0.1:{port}/') YIELD value RETURN value
WITH 1 AS x CALL apoc.export.csv.all('{trip}/out', {}) YIELD file RETURN file
WITH 1 AS x CALL apoc.cypher.runWrite('CREATE (:Prey)', {}) YIELD value RETURN value
WITH 1 AS x CALL apoc.periodic.commit('CREATE (:Prey)', {}) YIELD updates RETURN x
RETURN apoc.create.uuid() AS id
RETURN apoc.cypher.runFirstColumnSingle("LOAD CSV FROM 'http://127.0.0.1:{port}/' AS row RETURN row", {}) AS id
RETURN `apoc` . /* */ `c\\u0079pher`.runFirstColumnMany("CALL db.createLabel('Made')", {}) AS id
RETURN 1 AS id; CREATE (n:Prey)
RETURN 1 AS id; MATCH (n) DETACH DELETE n
RETURN '\\u0027 AS id; CREATE (n:Prey) //' AS id
RETURN 1 AS id \\u007d CREATE (n:Prey) RETURN n
MATCH (n:Prey) \\u0053ET n.name = 'x' RETURN n
MATCH (n:Prey) S\\u0045T n.name = 'x' RETURN n
MATCH (n:Prey) /* */SET/* */ n.name = 'x' RETURN n
MATCH (n:Prey) // x\r SET n.name = 'x' RETURN n
MATCH (n:Prey) // x\u2028 SET n.name = 'x' RETURN n
MATCH (n:Prey) WITH n SET n += {name: 'x'} RETURN n
MATCH (n:Prey) SET n = {} RETURN n
MATCH (n:Prey) INSERT (:Prey) RETURN n
CREATE INDEX made FOR (n:Prey) ON (n.id)
CREATE CONSTRAINT made FOR (n:Prey) REQUIRE n.id IS UNIQUE
DROP INDEX made IF EXISTS
CREATE USER x SET PASSWORD 'password1'
ALTER CURRENT USER SET PASSWORD FROM 'a' TO 'password1'
ALTER USER neo4j SET STATUS SUSPENDED
CREATE DATABASE other
STOP DATABASE neo4j
GRANT ROLE admin TO x
SHOW USERS
SHOW TRANSACTIONS
TERMINATE TRANSACTIONS 'neo4j-transaction-1'
SHOW SETTINGS
USE system RETURN 1 AS id
USE neo4j MATCH (n) DETACH DELETE n
EXPLAIN MATCH (n) DETACH DELETE n
PROFILE MATCH (n:Prey) SET n.name = 'x' RETURN n
CYPHER 25 MATCH (n:Prey) SET n.name = 'x' RETURN n
CYPHER runtime=slotted CREATE (n:Prey) RETURN n
RETURN COUNT { CREATE (n:Prey) } AS id
RETURN COLLECT { MATCH (n:Prey) SET n.name = 'x' RETURN n } AS id
RETURN EXISTS { MATCH (n:Prey) DELETE n } AS id
UNWIND range(1, 100000000000) AS x WITH x WHERE x < 0 RETURN x AS id
"""


def _cases(text: str) -> list[str]:
    """A line each; one that is indented goes on with the one before it."""
    return [case for case in text.strip("\n").replace("\n  ", " ").split("\n") if case]


_SQLITE = """
INSERT INTO prey VALUES (9, 'x') RETURNING id
REPLACE INTO prey VALUES (1, 'x')
UPDATE prey SET name = 'x' RETURNING id
DELETE FROM prey RETURNING id
WITH new AS (SELECT 1 AS id) DELETE FROM prey
WITH new AS (SELECT 1 AS id) UPDATE prey SET name = 'x'
WITH new AS (SELECT 9 AS id) INSERT INTO prey SELECT id, 'x' FROM new RETURNING id
INSERT INTO searched VALUES ('x')
INSERT INTO searched (searched) VALUES ('rebuild')
INSERT INTO searched (searched, rank) VALUES ('automerge', 8)
WITH new AS (SELECT 'rebuild' AS id) INSERT INTO searched (searched) SELECT id FROM new
UPDATE sqlite_master SET sql = ''
WITH new AS (SELECT '' AS id) UPDATE sqlite_master SET type = (SELECT id FROM new)
WITH new AS (SELECT '' AS id) UPDATE sqlite_schema SET sql = (SELECT id FROM new)
WITH new AS (SELECT 1 AS id) DELETE FROM sqlite_master
CREATE TABLE copied AS SELECT * FROM prey
CREATE TEMP TABLE copied (id)
CREATE TEMP TRIGGER t AFTER INSERT ON prey BEGIN DELETE FROM prey; END
CREATE VIEW seen AS SELECT * FROM prey
CREATE INDEX i ON prey (name)
CREATE VIRTUAL TABLE v USING fts5(x)
DROP TABLE prey
ALTER TABLE prey RENAME TO gone
ALTER TABLE prey ADD COLUMN x
REINDEX prey
ANALYZE
VACUUM
VACUUM INTO '{trip}/copy.db'
ATTACH '{trip}/new.db' AS x
ATTACH DATABASE 'file:{trip}/new.db?mode=rwc' AS x
DETACH main
BEGIN IMMEDIATE
BEGIN EXCLUSIVE
COMMIT
ROLLBACK
SAVEPOINT s
RELEASE s
COMMIT; DELETE FROM prey
SELECT 1 AS id; DELETE FROM prey
SELECT 1 AS id; ATTACH '{trip}/new.db' AS x
SELECT 1 AS id) AS q; DELETE FROM prey; SELECT * FROM (SELECT 1
PRAGMA query_only = OFF
PRAGMA writable_schema = ON
PRAGMA journal_mode = WAL
PRAGMA journal_mode = DELETE
PRAGMA locking_mode = EXCLUSIVE
PRAGMA user_version = 9
PRAGMA application_id = 9
PRAGMA schema_version = 9
PRAGMA wal_checkpoint(TRUNCATE)
PRAGMA temp_store_directory = '{trip}'
PRAGMA optimize
PRAGMA incremental_vacuum
PRAGMA hard_heap_limit = 1
SELECT * FROM pragma_query_only(0)
SELECT * FROM pragma_writable_schema(1)
SELECT * FROM pragma_journal_mode('wal')
SELECT * FROM pragma_user_version(9)
SELECT * FROM pragma_wal_checkpoint('truncate')
SELECT * FROM pragma_temp_store_directory('{trip}')
SELECT * FROM pragma_optimize
SELECT * FROM pragma_incremental_vacuum(9)
SELECT * FROM pragma_hard_heap_limit(1)
SELECT * FROM pragma_database_list
SELECT load_extension('{trip}/x') AS id
SELECT load_extension('/usr/lib/x86_64-linux-gnu/libc.so.6', 'system') AS id
SELECT "load_extension"('{trip}/x') AS id
SELECT LOAD_EXTENSION('{trip}/x') AS id
SELECT writefile('{trip}/new', 'x') AS id
SELECT readfile('/etc/passwd') AS id
SELECT edit('x', 'touch {trip}/program') AS id
SELECT fts3_tokenizer('simple') AS id
SELECT fts3_tokenizer('simple', x'0000000000000000') AS id
SELECT * FROM fsdir('/etc')
SELECT * FROM loads
SELECT * FROM endless
SELECT zipfile('a', 'b') AS id
SELECT zeroblob(2000000000) AS id
SELECT hex(zeroblob(1000000000)) AS id
SELECT printf('%.*c', 2000000000, 'x') AS id
SELECT replace(hex(zeroblob(10000)), '0', hex(zeroblob(10000))) AS id
SELECT group_concat(hex(zeroblob(1000000))) AS id FROM prey a, prey b, prey c, prey d
WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT max(id) AS id FROM n
WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n WHERE id < 0
WITH RECURSIVE n(id) AS (SELECT 'x' UNION ALL SELECT id || id FROM n) SELECT length(id) AS id FROM n
EXPLAIN DELETE FROM prey
EXPLAIN QUERY PLAN SELECT 1
"""

QUERIES = {
    "sqlite": _cases(_SQLITE),
    "postgresql": _cases(_POSTGRESQL),
    "mysql": _cases(_MYSQL),
    "mongodb": _cases(_MONGODB),
    "neo4j": _cases(_NEO4J),
}
BY_RIGHTS = {
    "sqlite": [],
    "postgresql": _cases(_POSTGRESQL_BY_RIGHTS),
    "mysql": _cases(_MYSQL_BY_RIGHTS),
    "mongodb": [],
    "neo4j": [],
}
