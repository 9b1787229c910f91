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

-- A query over many leaves takes longer to plan than to run. These two keep a plan for any sets; leaves that are not
-- asked for are left out when it runs.
CREATE FUNCTION qanatix.entities_with(sets integer[], wanted uuid) RETURNS SETOF qanatix.entity
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY SELECT * FROM qanatix.entity WHERE set_number = ANY (sets) AND id = wanted;
END $$;

CREATE FUNCTION qanatix.newest_entities(
    sets integer[], before_time timestamptz, before_row bigint, before_id uuid, most integer
) RETURNS SETOF qanatix.entity
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY SELECT * FROM qanatix.entity
    WHERE set_number = ANY (sets) AND (created_at, "row", id) < (before_time, before_row, before_id)
    ORDER BY created_at DESC, "row" DESC, id DESC LIMIT most;
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
