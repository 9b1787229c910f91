"""PostgreSQL: superusers, and whoever may use the server's files, programs, replication or other sessions."""

# A query may take on any role that its session's user is a member of, `set_config('role', ...)` does it: so membership
# counts, inherited or not. Attributes are not inherited, but taken on with the role.
_TAKEN = """
WITH taken AS (
  SELECT oid, rolname, rolsuper, rolreplication FROM pg_catalog.pg_roles
  WHERE pg_catalog.pg_has_role(session_user, oid, 'MEMBER')
)
"""
_ROLES = """
SELECT DISTINCT CASE WHEN rolsuper THEN 'superuser' WHEN rolreplication THEN 'replication' ELSE rolname END AS found
FROM taken
WHERE rolsuper OR rolreplication OR rolname IN (
  'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend'
)
"""
# Functions that a superuser may have granted by themselves, to any role that can be taken on: has_function_privilege
# follows only what is inherited, so each of these roles is asked for. A schema's right may come from another of them.
# Those of dblink everybody may call once it is installed: they open connections from the server's machine, in which no
# transaction of ours is read-only.
_FUNCTIONS = """
SELECT DISTINCT CASE
  WHEN proname LIKE 'dblink%' THEN 'dblink'
  WHEN proname IN (
    'pg_reload_conf', 'pg_switch_wal', 'pg_create_restore_point', 'pg_rotate_logfile', 'pg_promote'
  ) THEN 'server functions'
  ELSE 'file functions'
END
FROM pg_catalog.pg_proc
WHERE proname IN (
  'pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'lo_import', 'lo_export',
  'pg_file_write', 'pg_file_rename', 'pg_file_unlink',
  'pg_reload_conf', 'pg_switch_wal', 'pg_create_restore_point', 'pg_rotate_logfile', 'pg_promote',
  'dblink', 'dblink_exec', 'dblink_connect', 'dblink_connect_u', 'dblink_send_query'
) AND EXISTS (
  SELECT FROM taken WHERE pg_catalog.has_function_privilege(taken.oid, pg_proc.oid, 'EXECUTE')
) AND EXISTS (
  SELECT FROM taken WHERE pg_catalog.has_schema_privilege(taken.oid, pronamespace, 'USAGE')
)
"""
# One text, to be selected beside other things.
RIGHTS = f"array_to_string(ARRAY({_TAKEN} {_ROLES} UNION {_FUNCTIONS}), ',')"

_MEANINGS = {
    "superuser": "is a superuser, or may become one",
    "pg_execute_server_program": "may run programs on the source's machine (pg_execute_server_program)",
    "pg_write_server_files": "may write files of the source's machine (pg_write_server_files)",
    "pg_read_server_files": "may read files of the source's machine (pg_read_server_files)",
    "file functions": "may call functions that reach files of the source's machine",
    "dblink": "may call dblink, which opens connections from the source's machine",
    "server functions": "may call functions that act on the source's server as a whole",
    "replication": "may make replication slots (REPLICATION)",
    "pg_signal_backend": "may end other users' sessions (pg_signal_backend)",
}


def excess(rights: str) -> str | None:
    """What the account may do beyond reading, the greatest of what `RIGHTS` has found; None for nothing."""
    found = rights.split(",")
    return next((meaning for right, meaning in _MEANINGS.items() if right in found), None)
