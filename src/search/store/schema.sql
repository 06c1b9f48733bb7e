-- The run database, format 4. People query it; a change of meaning raises the format.
CREATE TABLE run (                 -- one row: what the run is
    format INTEGER NOT NULL,       -- of this database
    program TEXT NOT NULL,         -- version of the program that made it
    created INTEGER NOT NULL,      -- seconds since 1970-01-01 UTC
    seed INTEGER NOT NULL,
    device TEXT NOT NULL,
    threads INTEGER NOT NULL,      -- results do not depend on it
    config TEXT NOT NULL,          -- the resolved run file, as in config.toml
    prompts TEXT NOT NULL,         -- the file of instructions
    model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    data TEXT NOT NULL,
    data_sha256 TEXT NOT NULL,
    input_sizes TEXT NOT NULL,     -- JSON list: channels, height, width
    classes INTEGER NOT NULL
) STRICT;
CREATE TABLE generation (          -- one row per committed generation; 0 is the seed network's
    number INTEGER PRIMARY KEY,
    candidates INTEGER NOT NULL,   -- rows of `candidate`, without copies and duplicates that were asked again
    retried INTEGER NOT NULL,      -- copies and duplicates that were asked again
    valid INTEGER NOT NULL,        -- sources that are networks
    novel INTEGER NOT NULL,        -- networks not seen before in this run
    archived INTEGER NOT NULL,     -- networks that entered the archive
    elites INTEGER NOT NULL,       -- filled niches afterwards
    coverage REAL NOT NULL,        -- filled niches over niches
    qd_score REAL NOT NULL,        -- sum of fitness over niches
    best REAL,                     -- highest fitness so far
    mean REAL,                     -- mean fitness of the elites
    clipped INTEGER NOT NULL,      -- descriptors clipped to the unit square so far
    trained INTEGER NOT NULL,      -- networks that were trained and measured
    copies INTEGER NOT NULL,       -- networks that are a parent again
    duplicates INTEGER NOT NULL,   -- networks seen before in this run
    fitness REAL,                  -- mean fitness of the networks trained in it
    tokens INTEGER NOT NULL,       -- written by the LLM
    prompt_tokens INTEGER NOT NULL, -- read by it, cached or not
    generate_seconds REAL NOT NULL,
    train_seconds REAL NOT NULL,   -- wall clock of the whole training round
    digest TEXT NOT NULL           -- of everything up to here
) STRICT;
CREATE TABLE candidate (           -- one row per source text, refused or not
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    attempt INTEGER NOT NULL,      -- 0, or the number of copies discarded before it
    retried INTEGER NOT NULL,      -- 1: discarded as a copy and asked again
    operator TEXT NOT NULL,        -- seed, rewrite, crossover, infill, rank, typed
    parents TEXT NOT NULL,         -- JSON list of [generation, slot]
    instruction TEXT NOT NULL,     -- its id in the prompts
    prompt_instruction INTEGER,    -- prompt niche: number of the instruction,
    prompt_bin INTEGER,            -- temperature bin,
    prompt_temperature REAL,       -- and temperature
    temperature REAL NOT NULL,     -- that it was sampled at; 0 without the LLM
    prompt TEXT NOT NULL,          -- the whole prompt; of a typed or ranked edit, what was done
    source TEXT NOT NULL,          -- as generated, whole
    kept TEXT,                     -- as kept, with repairs
    verdict TEXT NOT NULL,         -- accepted, copy, duplicate, syntax_error, unsupported, shape_error,
                                   -- limit_exceeded, training_failed, skipped (by the surrogate)
    message TEXT NOT NULL,         -- why not
    repairs TEXT NOT NULL,         -- JSON list
    prior REAL,                    -- score of a ranked edit: the LLM's mean log-probability per token, or its control's
    predicted REAL,                -- fitness that the surrogate expected
    architecture TEXT,             -- id: equal for equal networks
    parameters INTEGER,
    macs INTEGER,                  -- per sample
    width_to_depth REAL,           -- raw descriptors: largest width over depth,
    depth REAL,                    -- weighted layers,
    log_flops REAL,                -- and base-10 logarithms: FLOPs,
    log_parameters REAL,           -- parameters,
    log_activation REAL,           -- bytes of the largest intermediate result of one sample
    layers TEXT,                   -- one line per layer: path, class, output shape
    fitness REAL,                  -- validation accuracy in [0, 1]
    loss REAL,                     -- validation loss
    curve TEXT,                    -- JSON list of [step, training loss]
    inherited INTEGER,             -- tensors taken over from the parent
    latency REAL,                  -- milliseconds of one sample, if an axis asks for it; never measured again
    niche INTEGER,
    outcome TEXT,                  -- new, improved, rejected
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    saved_tokens INTEGER NOT NULL, -- of a text that was given up: what the limit would still have allowed
    generate_seconds REAL NOT NULL,
    train_seconds REAL NOT NULL,
    PRIMARY KEY (generation, slot, attempt)
) STRICT;
CREATE TABLE niche (               -- the archive now
    niche INTEGER PRIMARY KEY,
    x REAL NOT NULL,               -- the elite's place in the unit square
    y REAL NOT NULL,
    generation INTEGER NOT NULL,   -- the elite
    slot INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    fitness REAL NOT NULL
) STRICT;
CREATE TABLE centroid (            -- the middle of each niche, filled or not
    niche INTEGER PRIMARY KEY,
    x REAL NOT NULL,               -- in the unit square
    y REAL NOT NULL
) STRICT;
CREATE TABLE prompt_niche (        -- the prompt archive now
    instruction INTEGER NOT NULL,
    bin INTEGER NOT NULL,
    temperature REAL NOT NULL,
    curiosity REAL NOT NULL,
    used INTEGER NOT NULL,
    archived INTEGER NOT NULL,
    PRIMARY KEY (instruction, bin)
) STRICT;
CREATE TABLE result (              -- after the last generation: the only place where the test split was read
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    file TEXT NOT NULL,            -- elites/NNN.py
    best INTEGER NOT NULL,         -- 1: chosen by validation
    final_steps INTEGER NOT NULL,  -- further training; 0: none
    validation REAL NOT NULL,      -- accuracy after it
    test REAL,                     -- accuracy
    PRIMARY KEY (generation, slot)
) STRICT;
CREATE VIEW generation_rates AS    -- shares of a generation, and what a trained network cost
SELECT
    number,
    1.0 * valid / NULLIF(candidates, 0) AS validity,
    1.0 * novel / NULLIF(candidates, 0) AS novelty,
    1.0 * (copies + duplicates + retried) / NULLIF(candidates + retried, 0) AS known,
    coverage,
    qd_score,
    best,
    fitness,
    1.0 * tokens / NULLIF(trained, 0) AS tokens_per_trained,
    1.0 * prompt_tokens / NULLIF(trained, 0) AS prompt_tokens_per_trained,
    (generate_seconds + train_seconds) / NULLIF(trained, 0) AS seconds_per_trained
FROM generation;
CREATE VIEW yield AS               -- what each operator and instruction came to
SELECT
    operator,
    instruction,
    COUNT(*) AS texts,             -- copies and duplicates that were asked again included
    SUM(retried) AS retried,
    SUM(retried = 0 AND architecture IS NOT NULL) AS valid,
    SUM(verdict IN ('accepted', 'training_failed')) AS novel,
    COUNT(CASE WHEN outcome IN ('new', 'improved') THEN 1 END) AS archived,
    SUM(verdict = 'accepted') AS trained,
    SUM(completion_tokens) AS tokens,
    SUM(prompt_tokens) AS prompt_tokens,
    SUM(generate_seconds) AS generate_seconds,
    SUM(train_seconds) AS train_seconds,
    1.0 * SUM(completion_tokens) / NULLIF(SUM(verdict IN ('accepted', 'training_failed')), 0) AS tokens_per_novel,
    1.0 * SUM(completion_tokens) / NULLIF(COUNT(CASE WHEN outcome IN ('new', 'improved') THEN 1 END), 0) AS tokens_per_archived
FROM candidate
WHERE operator <> 'seed'
GROUP BY operator, instruction;
