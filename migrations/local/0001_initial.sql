-- Rows are numbered by `row` (never reused: inode numbers are made of it); `id` is the record's identity on every machine.
-- Times are milliseconds since the epoch, UTC.

CREATE TABLE projects (
    row        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB NOT NULL UNIQUE,
    identity   TEXT NOT NULL UNIQUE,          -- 'git:host/owner/name' or 'path:/folder'
    name       TEXT NOT NULL,
    dir_name   TEXT NOT NULL UNIQUE,
    remote     TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    curated_at INTEGER,                       -- the last edit; NULL: none. A name that is a user's stays
    sync       INTEGER NOT NULL DEFAULT 1,    -- 0: nothing of it leaves this machine
    ignored    INTEGER NOT NULL DEFAULT 0,    -- 1: neither does it, as a .cogfsignore says
    local_version INTEGER NOT NULL DEFAULT 0,
    cloud_version INTEGER NOT NULL DEFAULT 0
);

-- Every folder a project was seen in. A folder known by its path alone is folded into the project of its remote later.
CREATE TABLE project_paths (
    path        TEXT PRIMARY KEY,
    project_row INTEGER NOT NULL REFERENCES projects(row),
    first_seen  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX project_paths_by_project ON project_paths(project_row);

CREATE TABLE cognitive_commits (
    row           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            BLOB NOT NULL UNIQUE,
    -- What listings read of every row stands in front: SQLite goes through all columns before one that it reads.
    link_name     TEXT NOT NULL UNIQUE,       -- in views: dir_name, the id behind where a typed name meets another
    deleted_at    INTEGER,                    -- NULL: not deleted
    project_row   INTEGER NOT NULL REFERENCES projects(row),
    dir_name      TEXT NOT NULL,
    title         TEXT NOT NULL,
    title_rank    INTEGER NOT NULL,           -- where the title comes from: see TitleRank
    git_hash      TEXT,
    git_subject   TEXT,
    closed_by     TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    closed_at     INTEGER NOT NULL,
    parallel      INTEGER NOT NULL DEFAULT 0,
    hidden        INTEGER NOT NULL DEFAULT 0,
    published     INTEGER NOT NULL DEFAULT 0,
    display_order INTEGER NOT NULL DEFAULT 0,
    tags          TEXT NOT NULL DEFAULT '[]',
    note          TEXT NOT NULL DEFAULT '',
    updated_at    INTEGER NOT NULL,
    found_title   TEXT,                       -- while the title is a user's: what an import found, and its rank
    found_rank    INTEGER,
    found_project INTEGER,                    -- where it was found, once a user moved it
    curated_at    INTEGER,                    -- the last edit; NULL: none
    local_version INTEGER NOT NULL DEFAULT 0, -- counts edits
    cloud_version INTEGER NOT NULL DEFAULT 0,
    home          INTEGER GENERATED ALWAYS AS (CASE WHEN deleted_at IS NOT NULL THEN 2 ELSE hidden END) VIRTUAL
);
-- The directory it lies in (see commits::Home), and the row: listings go on behind one.
CREATE INDEX commits_by_home ON cognitive_commits(project_row, home);
CREATE UNIQUE INDEX commits_by_name ON cognitive_commits(project_row, dir_name) WHERE deleted_at IS NULL;
CREATE INDEX commits_by_hash ON cognitive_commits(project_row, git_hash) WHERE git_hash IS NOT NULL;
CREATE INDEX commits_by_closing ON cognitive_commits(project_row, closed_at);

-- Every git commit made during a cognitive commit: the one that closed it, others of the same command, and subagents'.
CREATE TABLE git_commits (
    row        INTEGER PRIMARY KEY AUTOINCREMENT,
    commit_row INTEGER NOT NULL REFERENCES cognitive_commits(row),
    hash       TEXT NOT NULL,                 -- as git printed it
    name       TEXT NOT NULL UNIQUE,          -- in by/git: the hash, whole if known, the commit's id behind where another has it
    branch     TEXT,
    subject    TEXT NOT NULL,
    at         INTEGER NOT NULL,
    UNIQUE (commit_row, hash)
);
CREATE INDEX git_commits_by_hash ON git_commits(hash);

-- The machines that sessions were imported on; the state's 'machine' is the row of this one.
CREATE TABLE machines (
    row      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       BLOB NOT NULL UNIQUE,            -- random
    name     TEXT NOT NULL,                   -- the host's name
    dir_name TEXT NOT NULL UNIQUE
);

-- The directories of by/: a day, an agent, a model, a machine, a tool, or a part of a file's path. No foreign keys here and
-- in facet_links: they are written beside every part of a session.
CREATE TABLE facets (
    row    INTEGER PRIMARY KEY AUTOINCREMENT,
    kind   INTEGER NOT NULL,                  -- see store::facets::FacetKind
    parent INTEGER NOT NULL,                  -- of a file: the directory's row, at the top minus the project's; else 0
    name   TEXT NOT NULL,
    depth  INTEGER NOT NULL,                  -- directories between by/KIND/NAME and its links
    latest INTEGER,                           -- the commit linked last, here or below; NULL: there is none, it is not listed
    UNIQUE (kind, parent, name)
);
CREATE INDEX facets_by_parent ON facets(kind, parent);              -- and the row: listings go on behind one

CREATE TABLE facet_links (
    row        INTEGER PRIMARY KEY AUTOINCREMENT,
    facet_row  INTEGER NOT NULL,
    commit_row INTEGER NOT NULL,
    UNIQUE (facet_row, commit_row)
);
CREATE INDEX facet_links_by_commit ON facet_links(commit_row, facet_row);

-- A session, or the part of one that belongs to one commit.
CREATE TABLE sessions (
    row                   INTEGER PRIMARY KEY AUTOINCREMENT,
    id                    BLOB NOT NULL UNIQUE,
    agent                 TEXT NOT NULL,
    native_id             TEXT NOT NULL,
    machine_row           INTEGER NOT NULL,                           -- where it was imported
    part                  INTEGER NOT NULL,
    commit_row            INTEGER REFERENCES cognitive_commits(row),  -- NULL: nothing to show yet
    parent_row            INTEGER REFERENCES sessions(row),
    deleted_at            INTEGER,                                    -- NULL: not deleted
    parent_native         TEXT,
    subagent_kind         TEXT,
    ordinal               INTEGER NOT NULL DEFAULT 0,
    dir_name              TEXT NOT NULL DEFAULT '',
    title                 TEXT,
    title_rank            INTEGER NOT NULL DEFAULT 0,
    cwd                   TEXT,
    git_branch            TEXT,
    git_remote            TEXT,
    project_hash          TEXT,                                       -- SHA-256 of a folder that the log does not name
    agent_version         TEXT,
    models                TEXT NOT NULL DEFAULT '[]',
    closed                INTEGER NOT NULL DEFAULT 0,                 -- a git commit ended this part
    started_at            INTEGER NOT NULL,
    ended_at              INTEGER NOT NULL,
    turns                 INTEGER NOT NULL DEFAULT 0,
    prompts               INTEGER NOT NULL DEFAULT 0,
    tool_calls            INTEGER NOT NULL DEFAULT 0,
    images                INTEGER NOT NULL DEFAULT 0,
    tokens_input          INTEGER NOT NULL DEFAULT 0,
    tokens_output         INTEGER NOT NULL DEFAULT 0,
    tokens_cache_read     INTEGER NOT NULL DEFAULT 0,
    tokens_cache_write    INTEGER NOT NULL DEFAULT 0,
    section_bytes         INTEGER NOT NULL DEFAULT 0,
    section_turn_links    INTEGER NOT NULL DEFAULT 0,
    section_visual_links  INTEGER NOT NULL DEFAULT 0,
    page_bytes            INTEGER NOT NULL DEFAULT 0,                 -- of the same turns in transcript.html
    page_links            INTEGER NOT NULL DEFAULT 0,
    raw_bytes             INTEGER NOT NULL DEFAULT 0,
    raw_records           INTEGER NOT NULL DEFAULT 0,
    render_version        INTEGER NOT NULL DEFAULT 0,                 -- of the renderer that section_*, page_* and turn_index are by
    updated_at            INTEGER NOT NULL,
    tool_names            TEXT NOT NULL DEFAULT '[]',                 -- what turn_index entries name by number
    turn_index            BLOB NOT NULL DEFAULT x'',                  -- 16 bytes a turn: see store::index
    local_version         INTEGER NOT NULL DEFAULT 0,
    cloud_version         INTEGER NOT NULL DEFAULT 0,
    forgotten             INTEGER NOT NULL DEFAULT 0,                 -- a husk: it keeps what its log brings from coming back
    forgotten_turns       INTEGER NOT NULL DEFAULT 0,                 -- of its turns, those that are husks
    contents              INTEGER NOT NULL DEFAULT 0,                 -- see model::ContentsAt
    UNIQUE (agent, native_id, part)
);
CREATE INDEX sessions_by_commit ON sessions(commit_row, ordinal);
CREATE INDEX sessions_by_parent ON sessions(parent_row, ordinal) WHERE parent_row IS NOT NULL;
CREATE INDEX sessions_by_render_version ON sessions(render_version);
CREATE INDEX sessions_elsewhere ON sessions(commit_row) WHERE contents = 1;
CREATE INDEX sessions_unlinked ON sessions(parent_native) WHERE parent_native IS NOT NULL AND parent_row IS NULL;

-- row = session row << 16 | number: a session's turns lie side by side. Role 0: a forgotten turn, of which id and time are left.
CREATE TABLE turns (
    row          INTEGER PRIMARY KEY,
    id           BLOB NOT NULL,
    role         INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    model        TEXT,
    label        TEXT,
    images       INTEGER NOT NULL DEFAULT 0,
    tool_name    TEXT,
    tool_call_id TEXT,
    tool_status  INTEGER NOT NULL DEFAULT 0,
    text         TEXT NOT NULL DEFAULT '',
    tool_input   TEXT,
    tool_output  TEXT,
    deleted_at   INTEGER                      -- NULL: not deleted
);

-- The row of each turn by its id. Keys at random: see store::gathered for why there are two tables.
CREATE TABLE turn_ids_sorted (id BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE turn_ids_new (id BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIEW turn_ids AS SELECT id, row FROM turn_ids_new UNION ALL SELECT id, row FROM turn_ids_sorted;

-- Turns written, in runs of rows: what the search index (a file of its own: store::search) has to bring in.
CREATE TABLE unsearched (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    first_row INTEGER NOT NULL,
    last_row  INTEGER NOT NULL
);

-- Searches that a user keeps, by what is searched for: the directories that search/ lists.
CREATE TABLE searches (
    row     INTEGER PRIMARY KEY AUTOINCREMENT,
    query   TEXT NOT NULL UNIQUE,
    kept_at INTEGER NOT NULL
);

-- The pictures; their bytes are files in blobs/, named by SHA-256.
CREATE TABLE visuals (
    row         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB NOT NULL UNIQUE,
    commit_row  INTEGER REFERENCES cognitive_commits(row),
    turn_row    INTEGER NOT NULL,
    ordinal     INTEGER NOT NULL,
    file_name   TEXT NOT NULL,
    sha256      TEXT NOT NULL,
    mime        TEXT NOT NULL,
    bytes       INTEGER NOT NULL,
    captured_at INTEGER NOT NULL
);
CREATE INDEX visuals_by_commit ON visuals(commit_row, ordinal);
CREATE INDEX visuals_by_turn ON visuals(turn_row);
CREATE INDEX visuals_by_blob ON visuals(sha256);

-- The source's records, byte for byte, compressed. row = session row << 16 | chunk number.
CREATE TABLE raw_chunks (
    row         INTEGER PRIMARY KEY,
    session_row INTEGER NOT NULL,
    start       INTEGER NOT NULL,             -- offset in the session's raw.jsonl
    length      INTEGER NOT NULL,             -- bytes when uncompressed
    data        BLOB NOT NULL                 -- zstd
);
CREATE INDEX raw_chunks_by_start ON raw_chunks(session_row, start);

-- Records that were forgotten, by their hashes: a log that is read again from its start does not bring them back.
CREATE TABLE forgotten_records (
    session_row INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    count       INTEGER NOT NULL,             -- a session may hold equal records
    PRIMARY KEY (session_row, hash)
) WITHOUT ROWID;

-- Files of forgotten pictures that are still to be removed.
CREATE TABLE forgotten_blobs (sha256 TEXT PRIMARY KEY) WITHOUT ROWID;

-- What a message cost: once a message, whatever the number of records that repeat it. Two tables, as for turn_ids.
CREATE TABLE usage_sorted (
    key         BLOB PRIMARY KEY,
    session_row INTEGER NOT NULL,
    model       TEXT,
    input       INTEGER NOT NULL,
    output      INTEGER NOT NULL,
    cache_read  INTEGER NOT NULL,
    cache_write INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE usage_new (
    key         BLOB PRIMARY KEY,
    session_row INTEGER NOT NULL,
    model       TEXT,
    input       INTEGER NOT NULL,
    output      INTEGER NOT NULL,
    cache_read  INTEGER NOT NULL,
    cache_write INTEGER NOT NULL
) WITHOUT ROWID;
CREATE VIEW message_usage AS SELECT * FROM usage_new UNION ALL SELECT * FROM usage_sorted;

-- Titles that name a record which was not seen yet.
CREATE TABLE pending_titles (
    agent TEXT NOT NULL,
    leaf  TEXT NOT NULL,
    title TEXT NOT NULL,
    PRIMARY KEY (agent, leaf)
) WITHOUT ROWID;

-- Which session part started a subagent, as the result of the call says.
CREATE TABLE subagent_links (
    agent          TEXT NOT NULL,
    native_id      TEXT NOT NULL,
    parent_row     INTEGER NOT NULL,
    PRIMARY KEY (agent, native_id)
) WITHOUT ROWID;

-- Sessions that a .cogfsignore keeps on this machine.
CREATE TABLE kept_sessions (session_row INTEGER PRIMARY KEY);

-- The files read, and how far; of a database with many sessions, each session: '…/opencode.db#ses_x'.
CREATE TABLE sources (
    path        TEXT PRIMARY KEY,
    agent       TEXT NOT NULL,
    native_id   TEXT NOT NULL,
    size        INTEGER NOT NULL,
    mtime_ns    INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    line        INTEGER NOT NULL,
    prefix_hash BLOB NOT NULL,                -- of the bytes around the start and the offset: tells a replaced file
    state       TEXT NOT NULL,                -- what the parser and the assembler must remember
    skipped     INTEGER NOT NULL DEFAULT 0,
    updated_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sources_by_session ON sources(agent, native_id);

-- What was deleted, by the name it has in .cogfs/trash/. The records stay as they are but for their deleted_at.
CREATE TABLE trash (
    row        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       INTEGER NOT NULL,              -- see curation::EntityKind
    entity_row INTEGER NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    deleted_at INTEGER NOT NULL,
    listed     INTEGER NOT NULL DEFAULT 1,    -- 0: emptied out of the trash
    by_manager INTEGER NOT NULL DEFAULT 0,    -- a file manager's Trash lists it
    UNIQUE (kind, entity_row)
);

-- Every edit of a user: what `cogfs log` shows and `cogfs undo` takes back.
CREATE TABLE edits (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    origin     TEXT NOT NULL,                 -- mount, command, ...: see store::edits::Origin
    machine    TEXT NOT NULL,                 -- the name of the machine it was made on
    kind       INTEGER NOT NULL,
    entity_row INTEGER NOT NULL,
    entity_id  BLOB NOT NULL,
    action     TEXT NOT NULL,
    before     TEXT NOT NULL,                 -- JSON
    after      TEXT NOT NULL,
    undoes     INTEGER,                       -- the edit it takes back
    undone_by  INTEGER                        -- the edit that took it back; NULL: it holds
);
CREATE INDEX edits_by_entity ON edits(kind, entity_row);

-- Edits that wait for the cloud, one row a record: later edits are merged into it while it is unsent. In commit order.
CREATE TABLE sync_queue (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         INTEGER NOT NULL,
    entity_row   INTEGER NOT NULL,
    entity_id    BLOB NOT NULL,
    fields       TEXT NOT NULL,               -- JSON: the new value of each field that changed
    base         TEXT NOT NULL,               -- JSON: its value before the first of the edits
    base_version INTEGER NOT NULL,            -- the record's cloud_version then
    first_at     INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    edits        INTEGER NOT NULL DEFAULT 1,  -- how many were merged into it since base_version
    sent         INTEGER NOT NULL DEFAULT 0,  -- 1: a request with it was made, and it is not known what became of that
    UNIQUE (kind, entity_row)
);

-- What the cloud refused: set aside until it is edited again or `cogfs push --retry`, so that it does not hold up the rest.
CREATE TABLE refused (
    kind    INTEGER NOT NULL,                 -- of wire::Kind, in its order
    id      BLOB NOT NULL,
    code    TEXT NOT NULL,
    message TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

-- Values of fields that lost against a change of another machine.
CREATE TABLE conflicts (
    row           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          INTEGER NOT NULL,
    entity_row    INTEGER NOT NULL,
    entity_id     BLOB NOT NULL,
    field         TEXT NOT NULL,
    base          TEXT NOT NULL,              -- JSON: the value before both changes
    local         TEXT NOT NULL,
    cloud         TEXT NOT NULL,
    kept          TEXT NOT NULL,              -- 'local' or 'cloud': what the record says
    machine       TEXT NOT NULL,              -- the name of the other machine; empty: not known
    name          TEXT NOT NULL,              -- what its file is called behind the number: as the record was then
    at            INTEGER NOT NULL,
    resolution    TEXT                        -- what a user took; NULL: it is open
);
CREATE INDEX conflicts_by_entity ON conflicts(kind, entity_row);

-- Pulled records that cannot be placed before another one has come: whole, as they came.
CREATE TABLE parked (
    kind INTEGER NOT NULL,
    id   BLOB NOT NULL,
    seq  INTEGER NOT NULL,
    row  TEXT NOT NULL,                       -- JSON: wire::Row
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

-- While everything is pulled anew: what has come.
CREATE TABLE pulled_anew (kind INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;

-- What was deleted here because the cloud does not have it any more: a record of this id that comes is a new one.
CREATE TABLE removed_there (id BLOB PRIMARY KEY) WITHOUT ROWID;

-- Versions in the cloud of turns: those that were ever deleted there.
CREATE TABLE turn_versions (
    turn_row      INTEGER PRIMARY KEY,
    cloud_version INTEGER NOT NULL
);

-- What was written to a meta.md and has not become the record (yet): kept through crashes.
CREATE TABLE drafts (
    commit_row INTEGER PRIMARY KEY,
    text       BLOB NOT NULL,
    written_at INTEGER NOT NULL,
    refusal    TEXT                           -- why it cannot become the record; NULL: it is whole
);

-- The bytes of a meta.md as they were saved: served back while the record says what it said then.
CREATE TABLE saved_documents (
    commit_row INTEGER PRIMARY KEY,
    text       BLOB NOT NULL,
    rendering  BLOB NOT NULL,                 -- the hash of what the record was rendered as then
    saved_at   INTEGER NOT NULL
);

-- Directory names that a new title took away: a link leads on, so that a path an editor holds open goes on working.
CREATE TABLE former_names (
    row         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_row INTEGER NOT NULL,
    name        TEXT NOT NULL,
    commit_row  INTEGER NOT NULL,
    UNIQUE (project_row, name)
);
CREATE INDEX former_names_by_commit ON former_names(commit_row);

-- Kinds of records that no parser knew: how many, and where the first one is.
CREATE TABLE unknown_kinds (
    agent         TEXT NOT NULL,
    agent_version TEXT NOT NULL,              -- empty: the log does not say it
    kind          TEXT NOT NULL,
    count         INTEGER NOT NULL,
    first_seen    INTEGER NOT NULL,
    example       TEXT NOT NULL,              -- file:line
    PRIMARY KEY (agent, agent_version, kind)
) WITHOUT ROWID;

-- What the cloud has of each record's facts: their version here, and the version that was sent. Kinds as in `edits`; 0: a machine.
-- A table of its own: a session's row is wide, and is written once as it is.
CREATE TABLE sent_facts (
    kind       INTEGER NOT NULL,
    entity_row INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    sent       INTEGER NOT NULL DEFAULT 0,    -- 0: never; -1: never, and also if its contents are elsewhere
    pulled     BLOB,                          -- the hash of the facts that came from the cloud last
    PRIMARY KEY (kind, entity_row)
) WITHOUT ROWID;
CREATE INDEX unsent_facts ON sent_facts(kind, entity_row) WHERE version <> sent;

-- What the cloud has of each session's contents: all turns and chunks up to a number. What is written below it lowers it.
CREATE TABLE sent_contents (
    session_row INTEGER PRIMARY KEY,
    turns       INTEGER NOT NULL DEFAULT 0,
    chunks      INTEGER NOT NULL DEFAULT 0,
    raw_bytes   INTEGER NOT NULL DEFAULT 0,   -- of those chunks, as they were sent
    most_turns  INTEGER NOT NULL DEFAULT 0,   -- ever sent: what is forgotten since is overwritten there
    most_chunks INTEGER NOT NULL DEFAULT 0
);

-- What messages cost, as far as the cloud was not told.
CREATE TABLE unsent_usage (
    session_row INTEGER NOT NULL,
    key         BLOB NOT NULL,
    PRIMARY KEY (session_row, key)
) WITHOUT ROWID;

-- Records that turned out to be a part of another (into_id), or were forgotten (NULL): what is said of them later is of those.
CREATE TABLE gone (
    id      BLOB PRIMARY KEY,
    kind    INTEGER NOT NULL,
    into_id BLOB,
    unsent  INTEGER NOT NULL                  -- 1: the cloud is to be told
) WITHOUT ROWID;
CREATE INDEX gone_unsent ON gone(kind) WHERE unsent = 1;

-- Records from the cloud whose parent did not come yet.
CREATE TABLE awaited (
    id     BLOB PRIMARY KEY,
    parent BLOB NOT NULL,
    record TEXT NOT NULL                      -- JSON: as it came
) WITHOUT ROWID;
CREATE INDEX awaited_by_parent ON awaited(parent);

-- Pictures whose bytes the cloud is known to have, or not to take.
CREATE TABLE objects (
    sha256 TEXT NOT NULL,
    mime   TEXT NOT NULL,
    state  INTEGER NOT NULL,                  -- see store::objects::State
    PRIMARY KEY (sha256, mime)
) WITHOUT ROWID;

-- Sessions whose contents were fetched: what they take here, and when they were read last. What is not in it is not given back.
CREATE TABLE fetched_sessions (
    session_row INTEGER PRIMARY KEY,
    bytes       INTEGER NOT NULL,
    used_at     INTEGER NOT NULL
);

-- Turns that were deleted and are not here: their contents are elsewhere.
CREATE TABLE deleted_elsewhere (
    turn_row   INTEGER PRIMARY KEY,
    deleted_at INTEGER NOT NULL,
    turn_id    BLOB NOT NULL
);

-- Counts of a week that may be shared, with the noise they were given: made once, so that asking again tells nothing more.
CREATE TABLE shared_counts (
    week     TEXT PRIMARY KEY,                -- its Monday
    document TEXT NOT NULL,                   -- the bytes that are shown and sent
    sent     INTEGER NOT NULL DEFAULT 0       -- see store::weeks::Sent
) WITHOUT ROWID;

-- Facts change: the version counts on. Not while what the cloud says is written here (the state's 'pulling'). A few rows at each
-- step of an import; never one for each turn. What people change is a field, and no fact.
CREATE TRIGGER machines_created AFTER INSERT ON machines
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    INSERT INTO sent_facts(kind, entity_row, version) VALUES (0, NEW.row, 1);
END;
CREATE TRIGGER projects_created AFTER INSERT ON projects
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    INSERT INTO sent_facts(kind, entity_row, version) VALUES (1, NEW.row, 1);
END;
CREATE TRIGGER projects_changed AFTER UPDATE OF id, identity, remote ON projects
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    INSERT INTO sent_facts(kind, entity_row, version) VALUES (1, NEW.row, 1)
        ON CONFLICT(kind, entity_row) DO UPDATE SET version = version + 1;
END;
CREATE TRIGGER projects_removed AFTER DELETE ON projects BEGIN
    DELETE FROM sent_facts WHERE kind = 1 AND entity_row = OLD.row;
END;
-- In two statements: written by INSERT OR IGNORE, whose IGNORE holds for what a trigger does, too.
CREATE TRIGGER project_paths_created AFTER INSERT ON project_paths
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    INSERT OR IGNORE INTO sent_facts(kind, entity_row, version) VALUES (1, NEW.project_row, 0);
    UPDATE sent_facts SET version = version + 1 WHERE kind = 1 AND entity_row = NEW.project_row;
END;
CREATE TRIGGER project_paths_moved AFTER UPDATE OF project_row ON project_paths
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    UPDATE sent_facts SET version = version + 1 WHERE kind = 1 AND entity_row = NEW.project_row;
END;
CREATE TRIGGER commits_created AFTER INSERT ON cognitive_commits
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    INSERT INTO sent_facts(kind, entity_row, version) VALUES (2, NEW.row, 1);
END;
-- A user's title, and the directory it names, is no fact: the one that was found is. A user's move keeps where it was found.
CREATE TRIGGER commits_changed AFTER UPDATE OF id, project_row, title, title_rank, found_title, found_rank, dir_name, git_hash,
    git_subject, closed_by, started_at, closed_at, parallel ON cognitive_commits
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') AND (
    OLD.id <> NEW.id OR OLD.git_hash IS NOT NEW.git_hash OR OLD.git_subject IS NOT NEW.git_subject
    OR OLD.closed_by <> NEW.closed_by OR OLD.started_at <> NEW.started_at OR OLD.closed_at <> NEW.closed_at
    OR OLD.parallel <> NEW.parallel
    OR coalesce(OLD.found_project, OLD.project_row) <> coalesce(NEW.found_project, NEW.project_row)
    OR iif(OLD.title_rank = 5, OLD.found_title, OLD.title) IS NOT iif(NEW.title_rank = 5, NEW.found_title, NEW.title)
    OR iif(OLD.title_rank = 5, OLD.found_rank, OLD.title_rank) IS NOT iif(NEW.title_rank = 5, NEW.found_rank, NEW.title_rank)
    OR (NEW.title_rank < 5 AND OLD.title_rank < 5 AND OLD.dir_name <> NEW.dir_name)) BEGIN
    INSERT INTO sent_facts(kind, entity_row, version) VALUES (2, NEW.row, 1)
        ON CONFLICT(kind, entity_row) DO UPDATE SET version = version + 1;
END;
CREATE TRIGGER commits_removed AFTER DELETE ON cognitive_commits BEGIN
    DELETE FROM sent_facts WHERE kind = 2 AND entity_row = OLD.row;
END;
CREATE TRIGGER git_commits_created AFTER INSERT ON git_commits
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    UPDATE sent_facts SET version = version + 1 WHERE kind = 2 AND entity_row = NEW.commit_row;
END;
CREATE TRIGGER git_commits_changed AFTER UPDATE ON git_commits
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    UPDATE sent_facts SET version = version + 1 WHERE kind = 2 AND entity_row = NEW.commit_row;
END;
CREATE TRIGGER sessions_changed AFTER UPDATE OF commit_row, parent_row, machine_row, subagent_kind, ordinal, dir_name, title,
    title_rank, cwd, git_branch, git_remote, agent_version, models, closed, started_at, ended_at, turns, prompts, tool_calls, images,
    tokens_input, tokens_output, tokens_cache_read, tokens_cache_write, section_bytes, section_turn_links, section_visual_links,
    page_bytes, page_links, raw_bytes, raw_records, render_version, tool_names, turn_index ON sessions
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    INSERT INTO sent_facts(kind, entity_row, version) VALUES (3, NEW.row, 1)
        ON CONFLICT(kind, entity_row) DO UPDATE SET version = version + 1;
END;
CREATE TRIGGER visuals_changed AFTER UPDATE OF ordinal, file_name ON visuals
WHEN NOT EXISTS (SELECT 1 FROM state WHERE key = 'pulling') BEGIN
    UPDATE sent_facts SET version = version + 1 WHERE kind = 3 AND entity_row = NEW.turn_row >> 16;
END;

-- The change feed: what a mount must tell the kernel.
CREATE TABLE changes (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    kind   INTEGER NOT NULL,
    row    INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    name   TEXT
);

CREATE TABLE state (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO state(key, value) VALUES ('created_at', CAST(unixepoch('subsec') * 1000 AS INTEGER));
