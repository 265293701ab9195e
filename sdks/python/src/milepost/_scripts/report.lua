-- Folds an update into its job's state, keeps it and tells it, in one step: spec/README.md, sections 3 and 14.
--
-- KEYS  status, history, meta; and, where they are on the same server: begun, expires (the index of jobs)
-- ARGV  as named below. What may be missing is an empty string.
--
-- Answers  {'new', state, serial} and, where there is an index to be kept elsewhere: begun, expires
--          {'repeated', state}                        the end that the job has already
--          {'ended', attempt, status, position}       the attempt has ended
--          {'superseded', attempt, position}          a later attempt has begun
--          {'heard', state, serial}                   another instance took this publish: what it led to
--          {'stale'}                                  others have taken publishes that came after this one; or what was
--                                                     under the key is no longer there
--          {'adopt', json}                            what today's worker left under the status key comes first
--          {'late', milliseconds}                     the caller has given up; the time here
local status_key, history_key, meta_key, begun_key, expires_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local channel, publish, job = ARGV[1], ARGV[2], ARGV[3]
-- 'report'; 'publish': a plain PUBLISH; 'key': what a plain SETEX left.
local origin = ARGV[4]
-- The update: its fields as JSON without the braces, and what the fold has to know of them.
local fields, status, named = ARGV[5], ARGV[6], tonumber(ARGV[7])
local ttl, stage, progress, has_timestamp = ARGV[8], ARGV[9], ARGV[10], ARGV[11] ~= ''
-- RFC 3339, for an update without a timestamp.
local now = ARGV[12]
-- Hex, for a job that begins, or a server that may have lost states.
local new_epoch = ARGV[13]
-- Milliseconds that a job is kept after an update, after its end; states and bytes of its history.
local keep, keep_ended = tonumber(ARGV[14]), tonumber(ARGV[15])
local most_states, most_bytes = tonumber(ARGV[16]), tonumber(ARGV[17])
-- The caller waits until then, in milliseconds by this server's clock. What is taken later would overtake what the
-- caller, or another one, has reported since.
local deadline = tonumber(ARGV[18])
-- Of a publish: the serial of the one before it. Of what a plain SETEX left: all of it, as it was found.
local after = ARGV[19]
-- Whether what today's worker left is to be passed over: it cannot be read.
local pass_over = ARGV[20] ~= ''

local MOST_HEARD = 32
local MOST_ATTEMPTS = 4294967295

local function digits(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if deadline and now_ms > deadline then
  return {'late', digits(now_ms)}
end

local meta = redis.call('HMGET', meta_key, 'run', 'epoch', 'number', 'attempt', 'status', 'ttl', 'stage', 'progress',
  'bytes', 'heard', 'begun', 'indexed', 'serial')
local known = meta[2] ~= false
local run, epoch, number, latest = meta[1], meta[2], tonumber(meta[3] or 0), tonumber(meta[4] or 0)
local previous_status, previous_ttl = meta[5], meta[6] or ''
local heard = meta[10] or ''

if not known and origin == 'report' and not pass_over then
  local left = redis.call('GET', status_key)
  if left then
    return {'adopt', left}
  end
end

-- Every instance that watches the job hears its publishes in the same order, and the first one has each taken. What was
-- taken has a serial. An instance knows that of the publish before this one: if others were taken since, this one is
-- among them, or was missed by who took those, and is old news.
local serial = tonumber(meta[13] or 0)
local print
if origin ~= 'report' then
  print = string.sub(redis.sha1hex(fields), 1, 16)
  local since = -1
  if origin == 'publish' then
    since = tonumber(after) or -1
  end
  if serial > since then
    for its, at in string.gmatch(heard, '(%d+):(%d+):' .. print) do
      if tonumber(its) > since then
        local state = at ~= '0' and redis.call('LINDEX', history_key, number - tonumber(at))
        return {'heard', state or redis.call('LINDEX', history_key, 0), its}
      end
    end
    if origin == 'publish' then
      return {'stale'}
    end
  end
  if origin == 'key' and redis.call('GET', status_key) ~= after then
    return {'stale'}
  end
  -- Higher than whatever was there before the job was forgotten.
  serial = math.max(serial + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
end

local attempt
if not known then
  attempt = named or 1
elseif named and named > latest then
  attempt = named
elseif named and named < latest then
  return {'superseded', digits(latest), epoch .. '-' .. digits(number)}
elseif previous_status == 'completed' or previous_status == 'failed' or previous_status == 'cancelled' then
  if origin ~= 'report' and not named and status == 'processing' and latest < MOST_ATTEMPTS then
    attempt = latest + 1
  else
    local state = redis.call('LINDEX', history_key, 0)
    local start = '{' .. fields .. ','
    if state and string.sub(state, 1, #start) == start then
      -- The same end if what follows is only what the fold adds.
      local of_the_fold = {stage = true, progress = true, timestamp = true, ttl = true, attempt = true, position = true}
      local readable, added = pcall(cjson.decode, '{' .. string.sub(state, #start + 1))
      local same = readable
      if readable then
        for name in pairs(added) do
          same = same and of_the_fold[name]
        end
      end
      if same then
        return {'repeated', state}
      end
    end
    return {'ended', digits(latest), previous_status, epoch .. '-' .. digits(number)}
  end
else
  attempt = latest
end

-- A server that was restarted, or took a lost one's place, may have lost states that were shown: then what follows
-- must not look like one of them.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
if known and run == server then
  number = number + 1
else
  epoch, number = new_epoch, 1
end
local same_attempt = known and attempt == latest
local is_end = status == 'completed' or status == 'failed' or status == 'cancelled'

local json = {'{', fields}
if stage == '' then
  if status == 'completed' then
    stage = '"complete"'
  elseif same_attempt and meta[7] and meta[7] ~= '' then
    stage = meta[7]
  elseif status == 'failed' then
    stage = '"error"'
  elseif status == 'queued' then
    stage = '"queued"'
  else
    stage = '"processing"'
  end
  json[#json + 1] = ',"stage":' .. stage
end
if progress == '' then
  if status == 'completed' then
    progress = '1.0'
  elseif same_attempt and meta[8] then
    progress = meta[8]
  end
  if progress ~= '' then
    json[#json + 1] = ',"progress":' .. progress
  end
end
if not has_timestamp then
  json[#json + 1] = ',"timestamp":"' .. now .. '"'
end
if ttl == '' and previous_ttl ~= '' then
  ttl = previous_ttl
  json[#json + 1] = ',"ttl":' .. ttl
end
json[#json + 1] = ',"attempt":' .. digits(attempt) .. ',"position":"' .. epoch .. '-' .. digits(number) .. '"}'
local state = table.concat(json)

local life = is_end and keep_ended or keep
if ttl ~= '' then
  life = tonumber(ttl) * 1000
end

-- The first write is one that a server without memory refuses: after it, it would refuse none.
redis.call('SET', status_key, state, 'PX', digits(life))
if not known then
  redis.call('DEL', history_key)
end
local states = redis.call('LPUSH', history_key, state)
local bytes = (known and tonumber(meta[9]) or 0) + #state
while states > 1 and (states > most_states or bytes > most_bytes) do
  bytes = bytes - #redis.call('RPOP', history_key)
  states = states - 1
end
if known and run ~= server then
  -- Numbers count anew: those of what was taken before say nothing any more.
  heard = string.gsub(heard, ':%d+:', ':0:')
end
if print then
  heard = heard .. ' ' .. digits(serial) .. ':' .. digits(number) .. ':' .. print
  local _, count = string.gsub(heard, ' ', ' ')
  if count > MOST_HEARD then
    heard = string.sub(heard, string.find(heard, ' ', 2, true), -1)
  end
end

local begun = meta[11] or (time[1] .. string.format('%06d', tonumber(time[2])))
-- The index forgets a job somewhat later than the job's keys expire, so that it need not be touched each time.
local indexed, expires = tonumber(meta[12] or 0), now_ms + life
local index = not known or expires > indexed or expires + life / 2 < indexed
if index then
  indexed = expires + math.floor(life / 4)
end
redis.call('HSET', meta_key, 'run', server, 'epoch', epoch, 'number', digits(number), 'attempt', digits(attempt),
  'status', status, 'ttl', ttl, 'stage', stage, 'progress', progress, 'bytes', digits(bytes), 'heard', heard,
  'begun', begun, 'indexed', digits(indexed), 'serial', digits(serial))
redis.call('PEXPIRE', history_key, digits(life))
redis.call('PEXPIRE', meta_key, digits(life))

if index and begun_key then
  redis.call('ZADD', begun_key, begun, job)
  redis.call('ZADD', expires_key, digits(indexed), job)
end
if origin == 'report' then
  redis.call(publish, channel, state)
end
if index and not begun_key then
  return {'new', state, digits(serial), begun, digits(indexed)}
end
return {'new', state, digits(serial)}
