-- Changes the health of a job whose worker has been silent, or which has made no progress, for too long: spec/README.md,
-- section 3. Any number of servers may run it at the same moment: the change is made once.
--
-- KEYS  status; the job's hash; and, unless this is a Cluster: clocks (the jobs whose health changes with time, by the time of their
--       next check)
-- ARGV  the arguments named below
--
-- Returns 1 if the health has changed; {position, attempt, milliseconds} if the worker has been silent for so long that the
-- caller has to end the attempt (report.lua, 'lost'); 'held' if one of the two would have happened without `holds`; 0
-- otherwise. In a Cluster, if the script did not run too late: a list that begins with the time of the job's next check, which the
-- caller has to write (clock_next.lua), or with '' if there is none; the rest is as above.
local channel, publish, job, from, asked, random, holds = unpack(ARGV)
-- channel, publish   where to publish the state, and with which command
-- job                its id
-- from               since when the caller has been checking without a pause, in milliseconds by this server's clock. Silence before
--                    that does not count: the server may have been down, so that no report could arrive
-- asked              when the caller asked which jobs are due, likewise. A script that runs much later than that does nothing
-- random             random hex digits: the job's secret if a new epoch begins, as in report.lua
-- holds              1 if no job is to become lost, or to end, because most workers are silent: silent.lua
from, asked, holds = tonumber(from), tonumber(asked), holds == '1'
local MAX_DELAY = 3000
-- If the caller does not end the attempt, the job is due again after this time, in milliseconds.
local END_AGAIN = 1000
-- A job that is held is due again after this time, in milliseconds.
local HELD = 10000
-- The places of the values in a job's meta: see report.lua.
local LAYOUT, EXPIRES, SERVER, SECRET, EPOCH, NUMBER, ATTEMPT, STATUS = 1, 2, 3, 4, 5, 6, 7, 8
local RING, WRITTEN, OLDEST, BYTES, ATTRIBUTES = 12, 13, 14, 15, 22
-- The last values are the pace, the usual durations and the pauses.
local SEEN, PROGRESSED, HEALTH, CLOCKED, LAST = 25, 26, 27, 28, 36
-- The number of hex digits in a proof, and the most in an epoch.
local DIGITS = 16
local RANKS = {ok = 0, stalled = 1, lost = 2}

local status_key, job_key, clocks_key = KEYS[1], KEYS[2], KEYS[3]
local call = redis.call
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if now_ms > asked + MAX_DELAY then
  return 0
end
local meta = call('HGET', job_key, 'meta')
local known = meta and {cmsgpack.unpack(meta)} or {}
local function with_next(answer)
  if clocks_key then
    return answer
  end
  local parts = type(answer) == 'table' and answer or {tostring(answer)}
  table.insert(parts, 1, known[CLOCKED] and tostring(known[CLOCKED]) or '')
  return parts
end
if known[LAYOUT] ~= 1 or known[EXPIRES] <= now_ms then
  known[CLOCKED] = nil
  if clocks_key then
    call('ZREM', clocks_key, job)
  end
  return with_next(0)
end
local silent, still, ending = patience(known[ATTRIBUTES], known[STATUS])
local health, state, open_state, position, is_over, is_held = known[HEALTH], nil, nil, nil, nil, nil
if health then
  local seen, progressed = math.max(known[SEEN], from), math.max(known[PROGRESSED], from)
  local present = silent and now_ms - seen >= silent and 'lost' or still and now_ms - progressed >= still and 'stalled' or 'ok'
  is_over = ending and now_ms - seen >= ending
  is_held = holds and (is_over or present == 'lost' and health ~= 'lost')
  if RANKS[present] > RANKS[health] and not is_over and not is_held then
    local newest = call('HGET', job_key, tostring((known[WRITTEN] - 1) % known[RING]))
    local before, after = string.match(newest or '', '^(.*,"health":)"%a+"(.*),"position":"[^"]*"}$')
    if before then
      local server = string.match(call('INFO', 'replication'), 'master_replid:(%x+)')
        or string.match(call('INFO', 'server'), 'run_id:(%x+)') or ''
      if known[SERVER] == server then
        known[NUMBER] = known[NUMBER] + 1
      else
        known[SERVER], known[SECRET], known[NUMBER] = server, random, 1
        known[EPOCH] = string.match(string.sub(redis.sha1hex(random), 1, DIGITS), '^0*(.+)$')
      end
      health = present
      position = known[EPOCH] .. '-' .. known[NUMBER]
      open_state = before .. '"' .. health .. '"' .. after .. ',"position":"' .. position .. '"'
      state = open_state .. '}'
    end
  end
  known[CLOCKED] = is_held and now_ms + HELD or is_over and now_ms + END_AGAIN or next_change(health, silent, still, ending, seen, progressed)
else
  -- The job has ended, or none of its attributes sets a limit any more.
  known[CLOCKED] = nil
end
known[HEALTH] = health
if state then
  -- The first write has to be one that a server without memory refuses.
  call('SET', status_key, state, 'PXAT', tostring(known[EXPIRES]))
  local slot = tostring(known[WRITTEN] % known[RING])
  if known[WRITTEN] - known[OLDEST] == known[RING] then
    known[BYTES] = known[BYTES] - call('HSTRLEN', job_key, slot)
    known[OLDEST] = known[OLDEST] + 1
  end
  known[BYTES], known[WRITTEN] = known[BYTES] + #state, known[WRITTEN] + 1
  call('HSET', job_key, slot, state)
end
call('HSET', job_key, 'meta', cmsgpack.pack(unpack(known, 1, LAST)))
if not clocks_key then
  -- The caller writes it.
elseif known[CLOCKED] then
  call('ZADD', clocks_key, tostring(known[CLOCKED]), job)
else
  call('ZREM', clocks_key, job)
end
if state then
  local proof = string.sub(redis.sha1hex(known[SECRET] .. position), 1, DIGITS)
  call(publish, channel, open_state .. ',"proof":"' .. proof .. '"}')
  return with_next(1)
end
if is_held then
  return with_next('held')
end
if is_over then
  return with_next({known[EPOCH] .. '-' .. known[NUMBER], tostring(known[ATTEMPT]), tostring(math.floor(ending))})
end
return with_next(0)
