"""One call that only rights stop, in many forms: a large object that PostgreSQL writes into a file, `{trip}/{n}`.

`_QUOTED` is text that PostgreSQL executes by a function; the name in it is put together, so that it stands nowhere.
`EXTENSIONS` says whose the functions are that do not come with the server itself.
"""

_ARGUMENTS = "(4711, '{trip}/{n}')"
_QUOTED = "'SELECT lo_' || 'export(4711, ''{trip}/{n}'')"
_ELSEWHERE = "'dbname=prey host={host} port={port} user=postgres password={password}'"

CALLS = [
    *(
        f"SELECT {call} AS id"
        for call in (
            f"lo_export{_ARGUMENTS}",
            f"LO_Export{_ARGUMENTS}",
            f"lo_export \t\n\f {_ARGUMENTS}",
            f"lo_export/**/{_ARGUMENTS}",
            f"lo_export/* /* ' */ \" ( */{_ARGUMENTS}",
            f"lo_export -- ' (\n{_ARGUMENTS}",
            f"lo_export --\r{_ARGUMENTS}",
            f'"lo_export"{_ARGUMENTS}',
            f'"lo_export" /* " */ {_ARGUMENTS}',
            f"pg_catalog.lo_export{_ARGUMENTS}",
            f'"pg_catalog"."lo_export"{_ARGUMENTS}',
            f'pg_catalog /* . */ . -- "\n "lo_export"{_ARGUMENTS}',
            f'u&"lo_export"{_ARGUMENTS}',
            f'U&"\\006co_export"{_ARGUMENTS}',
            f"U&\"lo!005fexport\" UESCAPE '!' {_ARGUMENTS}",
            f"pg_catalog.U&\"l$006f_export\" UESCAPE '$' {_ARGUMENTS}",
            f"/*'*/ lo_export{_ARGUMENTS} /*'*/",
            f"'\\' || lo_export{_ARGUMENTS}::text || '\\'",
            f"E'\\'' || lo_export{_ARGUMENTS}::text || E'\\''",
            f"$$'$$ || lo_export{_ARGUMENTS}::text || $$'$$",
            f"$a$ $$ $a$||lo_export{_ARGUMENTS}::text",
            f"ARRAY[lo_export{_ARGUMENTS}]::text",
            f"CASE WHEN lo_export{_ARGUMENTS} > 0 THEN 1 END",
            f"(lo_export{_ARGUMENTS}::numeric(10, 2))::text",
            f"count(*) FILTER (WHERE lo_export{_ARGUMENTS} = 1)",
            f"sum(lo_export{_ARGUMENTS}) OVER (PARTITION BY 1)",
            f"(SELECT id FROM prey ORDER BY lo_export{_ARGUMENTS} LIMIT 1)",
            f"query_to_xml({_QUOTED}', true, true, '')::text",
            f"ts_rewrite('a & b'::tsquery, {_QUOTED}::text::tsquery, ''b''::tsquery')::text",
            f"(({_QUOTED}::text::tsvector')::text).ts_stat::text",
        )
    ),
    f"SELECT * FROM lo_export{_ARGUMENTS} AS t (id)",
    f"SELECT * FROM ROWS FROM (lo_export{_ARGUMENTS}, generate_series(1, 2)) WITH ORDINALITY AS t (id, b)",
    f"SELECT p.id FROM prey AS p, LATERAL lo_export{_ARGUMENTS} AS t (x)",
    f"SELECT p.id FROM prey AS p JOIN prey AS q ON lo_export{_ARGUMENTS} = 1",
    f"SELECT id FROM prey LIMIT lo_export{_ARGUMENTS}",
    f"SELECT id FROM prey GROUP BY id HAVING lo_export{_ARGUMENTS} = 1",
    f"VALUES (lo_export{_ARGUMENTS})",
    f"WITH RECURSIVE t AS (SELECT 1 AS id UNION SELECT id + lo_export{_ARGUMENTS} FROM t WHERE id < 2) TABLE t",
    f"SELECT * FROM ts_stat({_QUOTED}::text::tsvector') AS t (id, b, c)",
    f"SELECT id FROM crosstab({_QUOTED}::text, ''a''::text, 1') AS t (id text, b int)",
    f"SELECT id FROM crosstab('SELECT 1, 2, 3', {_QUOTED}') AS t (id int, b int)",
    f"SELECT row_name AS id FROM crosstab2({_QUOTED}::text, ''a''::text, ''b''::text')",
    f"SELECT k FROM connectby('(' || {_QUOTED} AS k, 1 AS p) AS q', 'k', 'p', '1', 0) AS t (k int, p int, n int)",
    f"SELECT * FROM xpath_table(substr({_QUOTED}', 8), 'name', 'prey', '/', 'true') AS t (id int, b text)",
    f"SELECT * FROM dblink({_ELSEWHERE}, {_QUOTED}') AS t (id int)",
]
EXTENSIONS = {"dblink": "dblink", "crosstab": "tablefunc", "connectby": "tablefunc", "xpath_table": "xml2"}
# What these do is seen in the rows alone: the source's files.
READS = [
    "SELECT ('/etc/passwd'::text).pg_read_file AS id",
    "SELECT (SELECT '/etc/passwd'::text) . /* */ \"pg_read_file\" AS id",
    "SELECT (t.path).pg_stat_file.size AS id FROM (SELECT '/etc/passwd'::text AS path) AS t",
    "SELECT ('/'::text).pg_ls_dir AS id",
]
