-- A job's timeline: spec/README.md, sections 9 and 14. crates/protocol (timeline/) writes the same bytes after the same
-- updates, and reads them. All numbers are big-endian and unsigned.
--
-- A timeline is
--   started 6, interval 4, count 2, length 2     when the attempt began, in milliseconds; between samples, in tenths of a second;
--                                                how many samples follow, and how many bytes of stages
--   samples: tenths 4, share 2                   of a second since then; the progress
--   stages: before 2, at 6, after 2, text        the beginning of a stage: the progress at the end of the stage before; the
--                                                moment, in milliseconds; the progress then; the stage as JSON, empty at the
--                                                attempt's end
--   earlier attempts: attempt 4, status 1, started 6, ended 6, text
--                                                status as in STATUSES; moments in milliseconds, 0 if there is none; the error
-- A progress is in ten-thousandths, or NO_SHARE. A text is its length 2, and its bytes.
local NO_SHARE = 65535

local function share_of(progress)
  progress = tonumber(progress)
  return progress and math.floor(math.max(0, math.min(progress, 1)) * 10000 + 0.5) or NO_SHARE
end

local function parse_timeline(timeline)
  if not timeline then
    return 0, 10, 0, '', '', ''
  end
  local started, interval, count, length = struct.unpack('>I6I4I2I2', timeline)
  local stages_at = 15 + 6 * count
  return started, interval, count, string.sub(timeline, 15, stages_at - 1),
    string.sub(timeline, stages_at, stages_at + length - 1), string.sub(timeline, stages_at + length)
end

-- Adds a state of the present attempt, whose progress is `progress`, to a timeline. Returns the timeline, and when the next
-- sample is due, in milliseconds. `before` is the progress of the state before, or nil. `stage` is the stage that begins with
-- this state, if one does.
local function add_to_timeline(timeline, now, is_end, status, progress, before, stage)
  local MAX_SAMPLES, MAX_STAGES_BYTES = 128, 1200
  local started, interval, count, samples, stages, earlier = parse_timeline(timeline)
  if started == 0 then
    started = now
  end
  local tenths = math.min(math.max(0, math.floor((now - started) / 100)), 4294967295)
  local share, share_before = share_of(progress), share_of(before)
  if is_end and status ~= 'completed' and share_before ~= NO_SHARE then
    -- Many workers report failures with a progress of 0.
    share = share_before
  elseif is_end then
    share_before = share
  end
  local last = count > 0 and struct.unpack('>I4', samples, 6 * count - 5) or nil
  if share ~= NO_SHARE and (is_end or not last or tenths >= last + interval) then
    if is_end and last and tenths <= last then
      count, samples = count - 1, string.sub(samples, 1, -7)
    end
    if count == MAX_SAMPLES then
      local kept = {}
      for index = 1, count, 2 do
        kept[#kept + 1] = string.sub(samples, 6 * index - 5, 6 * index)
      end
      count, samples, interval = #kept, table.concat(kept), math.min(2 * interval, 4294967295)
    end
    last = math.max(tenths, last or 0)
    count, samples = count + 1, samples .. struct.pack('>I4I2', last, share)
  end
  if is_end and stages ~= '' then
    stages = stages .. struct.pack('>I2I6I2I2', share_before, now, NO_SHARE, 0)
  elseif stage and not is_end then
    stages = stages .. struct.pack('>I2I6I2I2', share_before, now, share, #stage) .. stage
  end
  while #stages > MAX_STAGES_BYTES do
    stages = string.sub(stages, 13 + struct.unpack('>I2', stages, 11))
  end
  return struct.pack('>I6I4I2I2', started, interval, count, #stages) .. samples .. stages .. earlier,
    last and started + 100 * (last + interval) or 0
end

-- Begins another attempt: of the present one, only how it ended is kept. `last` is its latest state.
local function end_attempt(timeline, attempt, status, ended, last)
  local STATUSES = {queued = 0, processing = 1, completed = 2, failed = 3, cancelled = 4}
  local MAX_EARLIER, MAX_ERROR_BYTES = 7, 96
  local started, _, _, _, _, earlier = parse_timeline(timeline)
  local readable, state = pcall(cjson.decode, last or '')
  local err, text = readable and type(state) == 'table' and state.error, ''
  for line in string.gmatch(type(err) == 'string' and err or '', '[^\r\n]+') do
    -- Trimmed in linear time; '^%s*(.-)%s*$' takes quadratic time.
    text = string.match(line, '%S.*%S') or string.match(line, '%S') or text
  end
  local stop = math.min(#text, MAX_ERROR_BYTES)
  while stop > 0 and stop < #text and string.byte(text, stop + 1) >= 128 and string.byte(text, stop + 1) < 192 do
    stop = stop - 1
  end
  earlier = earlier .. struct.pack('>I4I1I6I6I2', attempt, STATUSES[status] or 0, started, ended, stop) .. string.sub(text, 1, stop)
  local count, at = 0, 1
  while at <= #earlier do
    count, at = count + 1, at + 19 + struct.unpack('>I2', earlier, at + 17)
  end
  for _ = MAX_EARLIER + 1, count do
    earlier = string.sub(earlier, 20 + struct.unpack('>I2', earlier, 18))
  end
  return struct.pack('>I6I4I2I2', 0, 10, 0, 0) .. earlier
end

