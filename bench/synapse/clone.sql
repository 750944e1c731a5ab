-- Copies a room many times, so that Synapse has as many rooms as the scenarios need: to make them over its API takes hours.
-- Only for rooms of version 1 or 2, whose events carry their ids with them. While Synapse is stopped.
--
-- template: the room. mark: goes into the names of copies and their events, with the number of the copy. renaming: an
-- expression over the text X and the number n, to give each copy other members; X for the same ones.
CREATE OR REPLACE FUNCTION bench_clone(template text, copies integer, mark text, renaming text) RETURNS void
LANGUAGE plpgsql AS $body$
DECLARE
    of_table record;
    of_column record;
    marked text;
    term text;
    names text;
    terms text;
    origin bigint;
    base bigint;
    span bigint;
    group_origin bigint;
    group_base bigint;
    group_span bigint;
BEGIN
    SELECT min(stream_ordering), max(stream_ordering) - min(stream_ordering) + 1 INTO origin, span
        FROM events WHERE room_id = template;
    SELECT max(stream_ordering) + 1 INTO base FROM events;
    SELECT min(id), max(id) - min(id) + 1 INTO group_origin, group_span FROM state_groups WHERE room_id = template;
    SELECT max(id) + 1 INTO group_base FROM state_groups;
    FOR of_table IN SELECT * FROM (VALUES
        ('rooms', 'room_id = $1'), ('events', 'room_id = $1'), ('event_json', 'room_id = $1'),
        ('state_events', 'room_id = $1'), ('event_auth', 'room_id = $1'),
        ('event_edges', 'event_id IN (SELECT event_id FROM events WHERE room_id = $1)'),
        ('event_forward_extremities', 'room_id = $1'), ('room_depth', 'room_id = $1'),
        ('room_memberships', 'room_id = $1'), ('local_current_membership', 'room_id = $1'),
        ('current_state_events', 'room_id = $1'), ('users_in_public_rooms', 'room_id = $1'),
        ('room_stats_current', 'room_id = $1'), ('room_stats_state', 'room_id = $1'),
        ('sliding_sync_joined_rooms', 'room_id = $1'), ('sliding_sync_membership_snapshots', 'room_id = $1'),
        ('state_groups', 'room_id = $1'), ('state_groups_state', 'room_id = $1'),
        ('state_group_edges', 'state_group IN (SELECT id FROM state_groups WHERE room_id = $1)'),
        ('event_to_state_groups', 'event_id IN (SELECT event_id FROM events WHERE room_id = $1)')
    ) AS listed (name, chosen) LOOP
        names := '';
        terms := '';
        FOR of_column IN SELECT column_name AS name, data_type AS kind FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name = of_table.name AND is_generated = 'NEVER'
            ORDER BY ordinal_position
        LOOP
            term := quote_ident(of_column.name);
            IF of_column.name LIKE '%stream_ordering' OR of_column.name = 'bump_stamp' THEN
                term := format('%s - %s + %s + n * %s::bigint', term, origin, base, span);
            ELSIF of_column.name IN ('state_group', 'prev_state_group')
                OR (of_table.name = 'state_groups' AND of_column.name = 'id') THEN
                term := format('%s - %s + %s + n * %s::bigint', term, group_origin, group_base, group_span);
            ELSIF of_column.name = 'has_auth_chain_index' THEN
                term := 'false';
            ELSIF of_column.kind = 'text' THEN
                marked := format('replace(replace(%s, ''$'', ''$%s'' || n || ''_''), ''!'', ''!%s'' || n || ''_'')',
                    term, mark, mark);
                term := replace(renaming, 'X', marked);
            END IF;
            names := names || ', ' || quote_ident(of_column.name);
            terms := terms || ', ' || term;
        END LOOP;
        EXECUTE format('INSERT INTO %I (%s) SELECT %s FROM (SELECT * FROM %I WHERE %s) AS original, '
            || 'generate_series(0, %s) AS n',
            of_table.name, substr(names, 3), substr(terms, 3), of_table.name, of_table.chosen, copies - 1)
            USING template;
    END LOOP;
    PERFORM setval('events_stream_seq', (SELECT max(stream_ordering) FROM events));
    PERFORM setval('state_group_id_seq', (SELECT max(id) FROM state_groups));
    UPDATE stream_positions SET stream_id = (SELECT max(stream_ordering) FROM events) WHERE stream_name = 'events';
END
$body$;
