-- Functions of the store on PostgreSQL. The store's own account may neither make nor drop a table (docs/security.md), so
-- the schema's owner does it here. A function that acts with the owner's rights makes each name itself, and names
-- all that it uses with its schema (PostgreSQL documentation, CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely").

-- Gives a table the rights that roles have on another one.
CREATE FUNCTION qanatix.share(made text, model text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    granting text;
BEGIN
    FOR granting IN
        SELECT format(
            'GRANT %s ON qanatix.%I TO %s', string_agg(privilege_type, ', '), made,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
        )
        FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 'qanatix'::regnamespace AND relname = model AND grantee <> relowner
        GROUP BY grantee
    LOOP
        EXECUTE granting;
    END LOOP;
END $$;

CREATE FUNCTION qanatix.heap_of(pull uuid, attempt integer) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'attempt_' || replace(pull::text, '-', '') || '_' || attempt
$$;

-- Makes the heap of an attempt, unless an earlier try did. The server logs no change of one that is not to be a leaf.
CREATE FUNCTION qanatix.make_heap(pull uuid, attempt integer, leaf boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    heap text := qanatix.heap_of(pull, attempt);
BEGIN
    EXECUTE format(
        'CREATE %s TABLE IF NOT EXISTS qanatix.%I ('
        '"row" bigint NOT NULL, id uuid NOT NULL, digest bytea NOT NULL, source_id text, name text, data text NOT NULL %s)',
        CASE WHEN leaf THEN '' ELSE 'UNLOGGED' END, heap, CASE WHEN leaf THEN '' ELSE ', alike bigint NOT NULL' END
    );
    PERFORM qanatix.share(heap, 'entity');
END $$;

-- Drops the heap of an attempt. One that is in use is left: the sensor tries again.
CREATE FUNCTION qanatix.drop_heap(pull uuid, attempt integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS qanatix.%I', qanatix.heap_of(pull, attempt));
EXCEPTION WHEN lock_not_available THEN
    NULL;
END $$;

CREATE FUNCTION qanatix.index_leaf(number integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    leaf text := 'entity_' || number;
BEGIN
    EXECUTE format('CREATE UNIQUE INDEX %I ON qanatix.%I (id)', leaf || '_id', leaf);
    EXECUTE format('CREATE INDEX %I ON qanatix.%I (created_at, "row")', leaf || '_created', leaf);  -- sets are listed by it
    EXECUTE format('CREATE INDEX %I ON qanatix.%I (pull_id, "row")', leaf || '_pull', leaf);  -- changes are told by it
END $$;

-- Makes the leaf of a set, with no entities.
CREATE FUNCTION qanatix.make_leaf(number integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    leaf text := 'entity_' || number;
BEGIN
    EXECUTE format(
        'CREATE TABLE qanatix.%I (LIKE qanatix.entity, CONSTRAINT %I CHECK (set_number = %s))', leaf, leaf || '_set', number
    );
    PERFORM qanatix.share(leaf, 'entity');
    PERFORM qanatix.index_leaf(number);
END $$;

-- Makes the heap of an attempt, with its rows, the leaf of a set. No row is written: the server keeps the value of a
-- column that is added beside the table (PostgreSQL documentation, ALTER TABLE, "Notes").
CREATE FUNCTION qanatix.become_leaf(
    pull uuid, attempt integer, number integer, connector uuid, created timestamptz, updated timestamptz
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    heap text := qanatix.heap_of(pull, attempt);
    leaf text := 'entity_' || number;
BEGIN
    EXECUTE format(
        'ALTER TABLE qanatix.%I '
        'ADD set_number integer NOT NULL DEFAULT %L, ADD connector_id uuid NOT NULL DEFAULT %L, '
        'ADD pull_id uuid NOT NULL DEFAULT %L, ADD created_at timestamptz NOT NULL DEFAULT %L, '
        'ADD updated_at timestamptz NOT NULL DEFAULT %L, ADD CONSTRAINT %I CHECK (set_number = %s)',
        heap, number, connector, pull, created, updated, leaf || '_set', number
    );
    EXECUTE format(
        'ALTER TABLE qanatix.%I ALTER set_number DROP DEFAULT, ALTER connector_id DROP DEFAULT, '
        'ALTER pull_id DROP DEFAULT, ALTER created_at DROP DEFAULT, ALTER updated_at DROP DEFAULT', heap
    );
    EXECUTE format('ALTER TABLE qanatix.%I RENAME TO %I', heap, leaf);
    PERFORM qanatix.index_leaf(number);
    -- Else the server would know nothing of the leaf until autovacuum comes to it.
    EXECUTE format('ANALYZE qanatix.%I (id, created_at, pull_id)', leaf);
END $$;

-- Makes a leaf a partition. Its constraint spares the server to read it for that.
CREATE FUNCTION qanatix.attach_leaf(number integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE qanatix.entity ATTACH PARTITION qanatix.%I FOR VALUES IN (%s)', 'entity_' || number, number);
END $$;

-- The entity with this id in one of the sets. Each leaf is asked by its name: a query of `entity` would lock every leaf.
CREATE FUNCTION qanatix.entities_with(sets integer[], wanted uuid) RETURNS SETOF qanatix.entity
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number integer;
BEGIN
    FOREACH number IN ARRAY sets LOOP
        RETURN QUERY EXECUTE format(
            'SELECT "row", id, digest, source_id, name, data, set_number, connector_id, pull_id, created_at, updated_at '
            'FROM qanatix.%I WHERE id = $1', 'entity_' || number
        ) USING wanted;
        EXIT WHEN FOUND;
    END LOOP;
END $$;

-- Where an entity stands among those of all sets. The newest has the greatest place.
CREATE TYPE qanatix.place AS (created_at timestamptz, "row" bigint, id uuid, set_number integer);

-- The place of the newest entity of a set that stands before another place. No row if there is none.
CREATE FUNCTION qanatix.newest_place(number integer, before qanatix.place) RETURNS SETOF qanatix.place
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT created_at, "row", id, set_number FROM qanatix.%I WHERE (created_at, "row", id) < ($1, $2, $3) '
        'ORDER BY created_at DESC, "row" DESC, id DESC LIMIT 1', 'entity_' || number
    ) USING before.created_at, before."row", before.id;
END $$;

-- The newest entities of the sets that stand before a place, newest first. The set with the newest of all gives those
-- that are newer than any of another set; then the next set does. More sets than entities are never needed.
CREATE FUNCTION qanatix.newest_entities(
    sets integer[], before_time timestamptz, before_row bigint, before_id uuid, most integer
) RETURNS SETOF qanatix.entity
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    heads qanatix.place[] := ARRAY(
        SELECT head FROM unnest(sets) AS number,
        qanatix.newest_place(number, ROW(before_time, before_row, before_id, 0)::qanatix.place) AS head
        ORDER BY head DESC LIMIT most
    );
    head qanatix.place;
    following qanatix.place;
    wanted integer := most;
    given integer;
BEGIN
    WHILE wanted > 0 AND cardinality(heads) > 0 LOOP
        head := heads[1];
        following := coalesce(
            heads[2], ROW('-infinity', 0, '00000000-0000-0000-0000-000000000000', 0)::qanatix.place
        );
        RETURN QUERY EXECUTE format(
            'SELECT "row", id, digest, source_id, name, data, set_number, connector_id, pull_id, created_at, updated_at '
            'FROM qanatix.%I WHERE (created_at, "row", id) <= ($1, $2, $3) AND (created_at, "row", id) >= ($4, $5, $6) '
            'ORDER BY created_at DESC, "row" DESC, id DESC LIMIT $7', 'entity_' || head.set_number
        ) USING head.created_at, head."row", head.id, following.created_at, following."row", following.id, wanted;
        GET DIAGNOSTICS given = ROW_COUNT;
        wanted := wanted - given;
        IF wanted > 0 THEN
            heads := ARRAY(
                SELECT place FROM (
                    SELECT place FROM unnest(heads[2:]) AS place
                    UNION ALL
                    SELECT place FROM qanatix.newest_place(head.set_number, following) AS place
                ) AS places ORDER BY place DESC LIMIT wanted
            );
        END IF;
    END LOOP;
END $$;

-- The tables that stand for others now are used by the same roles. Whoever may write entities may call the functions, and
-- nobody else.
SELECT qanatix.share(made, 'entity_before') FROM unnest(ARRAY['entity', 'entity_set', 'staged']) AS made;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA qanatix FROM PUBLIC;
DO $$
DECLARE
    granting text;
BEGIN
    FOR granting IN
        SELECT format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA qanatix TO %s',
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
        FROM pg_class, aclexplode(relacl)
        WHERE oid = 'qanatix.entity'::regclass AND grantee <> relowner AND privilege_type = 'INSERT'
    LOOP
        EXECUTE granting;
    END LOOP;
END $$;
