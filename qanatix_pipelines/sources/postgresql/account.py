"""What a PostgreSQL account may do beyond reading: as a superuser, with files, programs, replication or sessions."""

# A query may take on any role that its session's user is a member of, by `set_config('role', ...)`. So each membership
# counts, inherited or not, and so do attributes, which come with the role.
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
# Functions that a superuser may grant one by one, to any role that can be taken on. has_function_privilege follows only
# inherited roles, so each role is asked for. The right on the schema may come from another of these roles. Once dblink
# is installed, everybody may call its functions: they open connections from the server's machine, and none of those is
# in our read-only transaction.
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
# An expression: the names of the rights that were found, as one text.
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
    """The greatest right beyond reading that `RIGHTS` found, in words. None if it found none."""
    found = rights.split(",")
    return next((meaning for right, meaning in _MEANINGS.items() if right in found), None)
