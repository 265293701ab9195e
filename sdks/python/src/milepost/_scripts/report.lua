-- Folds an update into its job's state, stores the state and publishes it, in one step: spec/README.md, sections 3 and 14.
--
-- KEYS  status; the job's hash; and, unless this is a Cluster: begun, expires (the index of jobs), clocks
--       (the jobs whose health changes with time, by the time of their next check: see clock.lua)
--       The hash has the data of the fold in `meta`, and the latest states in `0` to `ring - 1`: the n-th state ever written
--       is in the field n modulo `ring`. `timeline` is described in timeline.lua.
-- ARGV  one string: the arguments named below, each as MessagePack, one after the other; nil where one is missing
--
-- Returns  state                                           it was folded
--          {'new', state, serial, server, begun, expires, left, clock, meta, length}
--                                                          it was folded, with further values: the serial of the legacy
--                                                          publish; the server's identity, if the script had to ask for it;
--                                                          the scores that the caller has to write to the index; the parent
--                                                          that the job leaves; the score that the caller has to write to
--                                                          the clocks; '' if none. If the caller wants them, the job's meta,
--                                                          and the length of the state that the next one overwrites
--          {'repeated', state}                             the end, or the request, that the job has already; or the update
--                                                          counts only if the attempt is not known, and it is
--          {'ended', attempt, status, position}            the attempt has ended
--          {'superseded', attempt, position}               a later attempt has begun
--          {'adopt', json}                                 a legacy worker's value under the status key comes first
--          {'unknown'}                                     of a request, or of children: the job is not known
--          {'not-cancellable'}                             of a request: the job's worker accepts none
--          {'cancel-requested'}                            of a request: it was requested to cancel the job
--          {'late', milliseconds}                          the deadline has passed; the time by this server's clock
--          {'stale'}                                       of a lost job's end: there is a newer state. Of children: they
--                                                          are shown already
--          and the results of legacy.lua
local channel, publish, job, origin, fields, status, named, ttl, stage, progress, current, total, stage_progress,
  given_attributes, given_eta, has_eta_high, is_paused, has_timestamp, random, keep, keep_ended, max_states, max_bytes,
  deadline, server, server_until, after, ignore_key, given_usual, given_weights, wants_meta
  = cmsgpack.unpack(ARGV[1])
-- channel, publish          where to publish the state, and with which command
-- job                       its id
-- origin                    'report'; 'first': the same, but it counts only if the attempt is not known; of a legacy worker: 'publish' or 'key'; 'request': a request for the job's worker, which
--                           later states show too; 'lost': the end of a job whose worker has been silent for too long; or
--                           'children': the job has to show its children as they are now
-- fields                    the update: its fields as JSON, without the braces; or the request, as JSON
-- status, named, ttl, stage, progress, current, total, stage_progress
--                           the fields that the fold reads. `named` is the attempt; from `stage` on they are JSON
-- given_attributes          the attributes that the update sets or clears: see attempt.lua
-- given_eta, has_eta_high   the update's `eta` as JSON, and whether it has `eta_high`: the worker's own estimate
-- is_paused                 whether the worker says that it has paused the job
-- has_timestamp             whether the update has one
-- random                    random hex digits: the job's secret if a new epoch begins
-- keep, keep_ended          how long a job is kept after an update, and after its end, in milliseconds
-- max_states, max_bytes     the bounds of the history; the newest state is kept whatever its size. `max_states` takes effect
--                           when the job begins, and becomes its `ring`
-- deadline                  until when the caller waits, in milliseconds by this server's clock. An update that is folded later
--                           would overtake newer reports
-- server, server_until      the server's identity, as an earlier run over this connection returned it, and until when it is
--                           valid, in milliseconds by this server's clock
-- after                     of a legacy publish: the serial of the one before it; of a legacy key: its value as it was read;
--                           of a request: its action; of a lost job's end: the position of the state that it is to follow
-- ignore_key                whether to ignore the value that a legacy worker set under the status key: it cannot be read
-- given_usual               what runs.lua recorded of the name that the update gives the job, if anything
-- given_weights             the weights of the stages that the update declares without any, by that record, as JSON
-- wants_meta                whether the caller may fold the next report itself: see swap.lua
local status_key, job_key, begun_key, expires_key, clocks_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call = redis.call

-- Redis has it since 7.0, and Valkey has it. On an older server some of the scripts do not compile, so an update accepted here
-- would never be shown.
if not redis.REDIS_VERSION_NUM then
  return redis.error_reply('ERR this server is too old: Milepost needs Redis 7.0 or later, or Valkey')
end

local MAX_ATTEMPT = 4294967295
-- The longest update that any instance accepts, and what the fold adds.
local MAX_STATE = 17 * 1024 * 1024
-- The layout of the values in `meta`. A job whose meta has another layout, or is too long, begins anew.
local LAYOUT = 1
-- The number of hex digits in a proof, and the most in an epoch.
local DIGITS = 16

local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if deadline and now_ms > deadline then
  return {'late', tostring(now_ms)}
end

-- The job's meta. States `oldest` to `written - 1` are in the hash, and have `bytes` in total. The hash outlives the state: the
-- job is known until `expires`. A sample is due from `sample_at` on. `taken` is described in legacy.lua, `pace` and
-- `usual` in pace.lua. The attempt was paused for `paused_ms` before, and is now since `paused_at`, both in milliseconds.
local layout, expires, known_server, secret, epoch, number, latest, known_status, known_ttl, known_stage, known_progress,
  ring, written, oldest, bytes, begun, indexed, taken, started_at, progressed_at, known_current, known_attributes,
  day, date, seen, progressed, known_health, clocked,
  requested, sample_at, known_children, known_last, pace, usual, paused_ms, paused_at
local meta = call('HGET', job_key, 'meta')
if meta and #meta <= MAX_STATE then
  layout, expires, known_server, secret, epoch, number, latest, known_status, known_ttl, known_stage, known_progress, ring,
    written, oldest, bytes, begun, indexed, taken, started_at, progressed_at, known_current, known_attributes, day, date,
    seen, progressed, known_health, clocked, requested, sample_at, known_children, known_last, pace, usual,
    paused_ms, paused_at
    = cmsgpack.unpack(meta)
end
local known = layout == LAYOUT and expires > now_ms

-- The n-th state ever written, if it is kept and not too long. Whoever may write to the job's hash could put more there than Redis
-- lets a subscribed connection send (32 MB), and an instance has one for all jobs.
local function state_at(n)
  local state = call('HGET', job_key, tostring(n % ring))
  return state and #state <= MAX_STATE and state
end

local is_end = status == 'completed' or status == 'failed' or status == 'cancelled'
local serial, digest
local is_legacy = origin == 'publish' or origin == 'key'
if is_legacy then
  local answer
  answer, serial, digest = legacy.look_up(origin, fields, is_end, after, time, known and taken, epoch, number, status_key,
    function(ago)
      return state_at(written - 1 - ago)
    end)
  if answer then
    return answer
  end
elseif origin == 'lost' and not (known and epoch .. '-' .. number == after) then
  return {'stale'}
elseif not known and (origin == 'request' or origin == 'children') then
  return {call('HGET', (children_keys(job_key)), 'totals') and 'stale' or 'unknown'}
elseif not known and not ignore_key then
  local value = call('GET', status_key)
  if value and #value <= MAX_STATE then
    return {'adopt', value}
  end
end

local attempt
if not known then
  attempt = named or 1
elseif named and named > latest then
  attempt = named
elseif named and named < latest then
  return {'superseded', tostring(latest), epoch .. '-' .. number}
elseif known_status == 'completed' or known_status == 'failed' or known_status == 'cancelled' then
  if is_legacy and not named and status == 'processing' and latest < MAX_ATTEMPT then
    attempt = latest + 1
  else
    local state = state_at(written - 1)
    local start = '{' .. fields .. ','
    if state and string.sub(state, 1, #start) == start then
      -- It is the same end if the fold added everything that follows.
      local by_the_fold = {stage = true, progress = true, timestamp = true, ttl = true, attempt = true, position = true,
        started_at = true, paused_seconds = true, ended_at = true, health = true, children = true, requested = true, log = true}
      local readable, added = pcall(cjson.decode, '{' .. string.sub(state, #start + 1))
      local same = readable
      if readable then
        for name in pairs(added) do
          same = same and (by_the_fold[name] or attribute(known_attributes, name))
        end
      end
      if same then
        return {'repeated', state}
      end
    end
    return {'ended', tostring(latest), known_status, epoch .. '-' .. number}
  end
elseif origin == 'first' then
  return {'repeated', call('HGET', job_key, tostring((written - 1) % ring))}
else
  attempt = latest
end

-- For a request, and for children: the state as the worker reported it, up to the fields that come last in every state.
local head
local function as_reported()
  -- Everything else stays as it is.
  status, stage, progress, current = known_status, known_stage, known_progress, known_current
  local tail = (requested and ',"requested":' .. requested or '')
    .. (known_children and ',"children":' .. known_children or '')
    .. (known_last and ',"progress":' .. known_last or '')
    .. ',"attempt":' .. latest .. ',"position":"' .. epoch .. '-' .. number .. '"}'
  head = string.sub(state_at(written - 1), 1, -#tail - 1)
end
if origin == 'request' then
  local action = requested and string.match(requested, '^{"action":"(%l+)"')
  local state = state_at(written - 1)
  if attribute(known_attributes, 'cancellable') ~= 'true' then
    return {'not-cancellable'}
  elseif action == after then
    return {'repeated', state}
  elseif action == 'cancel' then
    return {'cancel-requested'}
  end
  as_reported()
  requested = fields
end

local same_attempt = known and attempt == latest
-- The job's children are read only where they may have to be shown. A job that begins may have children already.
local totals, had_children
if known_children and not same_attempt then
  had_children, known_children = true, nil
elseif known_children or is_end or not known or origin == 'children' then
  local packed = call('HGET', (children_keys(job_key)), 'totals')
  totals = packed and parse_totals(packed)
end
if origin == 'children' then
  if not (totals and totals[CHANGED]) then
    return {'stale'}
  end
  as_reported()
end
-- The job's children, and its progress if it is computed from them or `null`. These fields can be replaced, because they come
-- last.
local children, last

-- A server that was restarted or promoted may have lost states that watchers have seen, so new positions must differ from
-- theirs. The replication id changes on both occasions, even if the process stays the same.
local asked
if not server or now_ms > server_until then
  server = string.match(call('INFO', 'replication'), 'master_replid:(%x+)')
    or string.match(call('INFO', 'server'), 'run_id:(%x+)') or ''
  asked = server
end
if known and known_server == server then
  number = number + 1
else
  -- The epoch does not reveal the secret.
  secret, number = random, 1
  epoch = string.match(string.sub(redis.sha1hex(secret), 1, DIGITS), '^0*(.+)$')
end

local added = ''
if not stage then
  if status == 'completed' then
    stage = '"complete"'
  elseif same_attempt and known_stage then
    stage = known_stage
  elseif status == 'failed' then
    stage = '"error"'
  elseif status == 'queued' then
    stage = '"queued"'
  else
    stage = '"processing"'
  end
  added = ',"stage":' .. stage
end
local has_begun = same_attempt and started_at
-- The new timeline, if it changes.
local timeline
if known and not same_attempt then
  local has_ended = known_status == 'completed' or known_status == 'failed' or known_status == 'cancelled'
  timeline = end_attempt(call('HGET', job_key, 'timeline') or nil, latest, known_status, has_ended and seen or 0,
    state_at(written - 1))
end
-- The parent that the job leaves, as JSON: that of the state before, if it is another one now.
local left = known and not head and (not same_attempt
  or given_attributes and string.find(given_attributes, ',"parent_id":', 1, true)) and attribute(known_attributes, 'parent_id')
if not same_attempt then
  known_status, known_stage, known_progress, known_current, known_attributes = nil, nil, nil, nil, nil
  started_at, progressed_at, known_health, requested, pace, usual = nil, nil, nil, nil, nil, nil
  paused_ms, paused_at = nil, nil
end
local previous_progress = has_begun and known_progress or nil
-- Weights that earlier attempts give count only for the first stages of an attempt, so that they stay as they are until it ends.
if given_weights then
  if attribute(known_attributes, 'stages') or attribute(known_attributes, 'stage_weights') then
    given_weights = nil
  else
    given_attributes = given_attributes .. ',"stage_weights":' .. given_weights .. '\n'
  end
end
local attributes, carried = carry(known_attributes, given_attributes)
if left and left == attribute(attributes, 'parent_id') then
  left = nil
end
if is_end then
  usual = nil
elseif given_attributes and string.find(given_attributes, ',"name":', 1, true) then
  -- As long as the attempt keeps its name, it keeps the durations that were usual when it got the name.
  local name = attribute(attributes, 'name')
  if name ~= attribute(known_attributes, 'name') then
    usual = name and given_usual and usual_of(given_usual) or nil
  end
end
if head then
  last = known_last
elseif not progress then
  if status == 'completed' then
    progress = '1.0'
  else
    local share = current and total and tonumber(total) > 0 and tonumber(current) / tonumber(total)
    local stages = attributes and (stage_progress or share or known_stage ~= stage) and attribute(attributes, 'stages')
    if stages then
      progress = of_stages(stages, attribute(attributes, 'stage_weights'), stage, math.max(0, math.min(tonumber(stage_progress or share or 0), 1)))
    end
    if not progress and share then
      progress = decimals(share)
    end
  end
  last = not progress and same_attempt and known_last or nil
  progress = progress or known_progress
  if progress and not last then
    added = added .. ',"progress":' .. progress
  end
elseif progress == 'null' then
  last = same_attempt and known_last or 'null'
  progress = last
end
if totals then
  local theirs
  children, theirs = show_children(totals, attribute(attributes, 'children_expected'), last or not progress)
  if theirs then
    last, progress = theirs, theirs
  elseif last and last ~= 'null' then
    last, progress = nil, nil
  end
elseif known_children then
  children = last and known_children or (string.gsub(known_children, ',"progress":[^}]*', ''))
end
if given_weights then
  added = added .. ',"stage_weights":' .. given_weights
end
if carried then
  added = added .. string.gsub(carried, '\n', '')
end
-- The date is computed once a day.
if day ~= math.floor(time[1] / 86400) then
  day, date = math.floor(time[1] / 86400), string.sub(moment(time[1]), 1, 10)
end
local second = time[1] % 86400
local now_seconds = string.format('%sT%02d:%02d:%02d.', date, second / 3600, second / 60 % 60, second % 60)
local now = now_seconds .. string.format('%03dZ', time[2] / 1000)
if origin == 'request' then
  -- All moments that no worker wrote are by this server's clock, because callers' clocks may be wrong.
  requested = string.gsub(requested, '"at":"[^"]*"', '"at":"' .. now .. '"', 1)
end
if not has_timestamp then
  added = added .. ',"timestamp":"' .. now_seconds .. string.format('%06dZ', time[2]) .. '"'
end
if not ttl and known and known_ttl then
  ttl = known_ttl
  added = added .. ',"ttl":' .. ttl
end
if not started_at and status ~= 'queued' then
  started_at = now
end
if started_at then
  added = added .. ',"started_at":"' .. started_at .. '"'
end
if not head then
  local pauses = is_paused and not is_end and started_at
  if paused_at and not pauses then
    paused_ms, paused_at = (paused_ms or 0) + math.max(0, now_ms - paused_at), nil
  end
  if paused_ms then
    added = added .. string.format(',"paused_seconds":%.3f', paused_ms / 1000)
  end
  if pauses then
    paused_at = paused_at or now_ms
    added = added .. ',"paused_at":"' .. instant(paused_at) .. '"'
  end
end
if is_end then
  added = added .. ',"ended_at":"' .. now .. '"'
  pace = nil
else
  -- Since when the job has had the progress of the previous state.
  local known_at = known_status == 'processing' and tonumber(known_progress) and progressed
  local has_progressed = not progressed_at or known_status ~= status or known_stage ~= stage or known_progress ~= progress
    or current and known_current ~= current
  if has_progressed then
    progressed_at, progressed = now, now_ms
  end
  if head then
    if has_progressed then
      local reported, estimate = cjson.decode(head .. '}'), nil
      pace, estimate = estimated(pace, known_at, known_progress, now_ms, progress,
        status == 'processing' and reported.paused ~= true and known_health ~= 'lost', false, usual, started_at, paused_ms)
      head = with_progress(head, reported, now, estimate)
    end
  else
    local estimate
    pace, estimate = estimated(pace, known_at, known_progress, now_ms, progress, status == 'processing' and not is_paused,
      known_health == 'lost', usual, started_at, paused_ms)
    added = added .. ',"last_seen_at":"' .. now .. '","progressed_at":"' .. progressed_at .. '"'
    if given_eta or has_eta_high then
      if given_eta and string.find(given_eta, '^"%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d.') then
        added = added .. ',"eta_basis":"worker"'
      end
    elseif estimate then
      added = added .. estimate
    end
  end
end
local health
if head then
  -- Neither a request nor a child's progress ends the silence of the worker.
  health = known_health
  if health == 'stalled' and progressed == now_ms then
    health = 'ok'
  end
else
  seen = now_ms
end
if attributes and not is_end and not head then
  local stall_after = attribute(attributes, 'stall_after')
  if stall_after or attribute(attributes, 'heartbeat') or attribute(attributes, 'lost_after') then
    health = known_health == 'stalled' and stall_after and progressed ~= now_ms and 'stalled' or 'ok'
    added = added .. ',"health":"' .. health .. '"'
  end
end
if started_at and origin ~= 'request' then
  local begins = not has_begun or known_stage ~= stage
  if begins or is_end or progress and now_ms >= (sample_at or 0) then
    timeline, sample_at = add_to_timeline(timeline or known and call('HGET', job_key, 'timeline') or nil, now_ms, is_end, status,
      progress, previous_progress, begins and stage)
  end
end
local position = epoch .. '-' .. number
local open_state = (head or '{' .. fields .. added) .. (requested and ',"requested":' .. requested or '')
  .. (children and ',"children":' .. children or '') .. (last and ',"progress":' .. last or '')
  .. ',"attempt":' .. attempt .. ',"position":"' .. position .. '"'
local state = open_state .. '}'

local life = is_end and keep_ended or keep
if ttl then
  life = ttl * 1000
end
-- Neither a request nor a child shortens a job's life: another server may keep jobs for longer.
expires = math.max(now_ms + life, head and expires or 0)

-- The first write has to be one that a server without memory refuses: after it, the server refuses none of this script.
call('SET', status_key, state, 'PXAT', tostring(expires))
if had_children then
  call('DEL', children_keys(job_key))
elseif totals and totals[CHANGED] then
  totals[CHANGED] = false
  call('HSET', (children_keys(job_key)), 'totals', pack_totals(totals))
end
if not known then
  call('DEL', job_key)
  ring, written, oldest, bytes = max_states, 0, 0, 0
  begun, indexed, taken, clocked = time[1] * 1000000 + time[2], nil, nil, nil
end
local slot = tostring(written % ring)
if written - oldest == ring then
  bytes = bytes - call('HSTRLEN', job_key, slot)
  oldest = oldest + 1
end
bytes, written = bytes + #state, written + 1
while bytes > max_bytes and oldest < written - 1 do
  local its_slot = tostring(oldest % ring)
  bytes, oldest = bytes - call('HSTRLEN', job_key, its_slot), oldest + 1
  call('HDEL', job_key, its_slot)
end
if digest then
  taken = legacy.add(taken, serial, epoch, number, digest)
end
-- The hash and the index keep a job a little longer than its state, so that most reports need not update their expiry.
local is_due = not indexed or expires > indexed or expires + life / 2 < indexed
if is_due then
  indexed = expires + math.floor(life / 4)
end
-- A job is checked no later than its health may change. A report that postpones the change does not update the list.
local clock_apart
if health then
  local silent, still, ending = patience(attributes, status)
  local look_at = next_change(health, silent, still, ending, seen, progressed)
  if look_at and (not clocked or look_at < clocked) then
    clocked = look_at
    if clocks_key then
      call('ZADD', clocks_key, tostring(look_at), job)
    else
      clock_apart = look_at
    end
  end
  if is_due and not clocks_key then
    -- What a caller could not write is written again with the index.
    clock_apart = clocked
  end
end
meta = cmsgpack.pack(LAYOUT, expires, server, secret, epoch, number, attempt, status,
  ttl, stage, progress, ring, written, oldest, bytes, begun, indexed, taken, started_at, progressed_at, current, attributes,
  day, date, seen, progressed, health, clocked, requested, sample_at, children, last, pace, usual,
  paused_ms, paused_at)
if timeline then
  call('HSET', job_key, slot, state, 'meta', meta, 'timeline', timeline)
else
  call('HSET', job_key, slot, state, 'meta', meta)
end
if is_due then
  call('PEXPIREAT', job_key, tostring(indexed))
  if children then
    -- The children of a parent that still reports are kept, even if they are silent.
    local children_key, open_key = children_keys(job_key)
    call('PEXPIREAT', children_key, tostring(indexed))
    call('PEXPIREAT', open_key, tostring(indexed))
  end
end
if is_due and begun_key then
  call('ZADD', begun_key, string.format('%.0f', begun), job)
  call('ZADD', expires_key, tostring(indexed), job)
end
if not is_legacy then
  -- Anybody who may publish on the channel could send a state. The proof shows that this script did: without the job's secret,
  -- nobody knows the proof of a position before it is published.
  local proof = string.sub(redis.sha1hex(secret .. position), 1, DIGITS)
  call(publish, channel, open_state .. ',"proof":"' .. proof .. '"}')
end

local index_apart = is_due and not begun_key
if digest or asked or index_apart or left or clock_apart or wants_meta then
  return {'new', state, serial and string.format('%.0f', serial) or '', asked or '',
    index_apart and string.format('%.0f', begun) or '', index_apart and tostring(indexed) or '', left and cjson.decode('[' .. left .. ']')[1] or '',
    clock_apart and tostring(clock_apart) or '',
    wants_meta and meta or nil, wants_meta and call('HSTRLEN', job_key, tostring(written % ring)) or nil}
end
return state
