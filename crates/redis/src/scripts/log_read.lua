-- Reads lines of a job's log: spec/README.md, section 17.
--
-- KEYS  the job's hash
-- ARGV  1  the position after which lines are requested; empty: the newest
--       2  how many lines at most
--
-- Returns {position of the last line, how many lines are no longer kept, number of the first line here, '1' if lines are
-- missing before it, line, …}, oldest first. The position is empty if the log never had a line. No element: the job is not
-- known.

local known, epoch, last, oldest = find_log(KEYS[1])
if not known then
  return {}
end
local most = tonumber(ARGV[2])
local first, gap = math.max(oldest, last + 1 - most), false
if ARGV[1] ~= '' then
  local after_epoch, after = string.match(ARGV[1], '^(%x+)-(%d+)$')
  after = tonumber(after)
  if after_epoch ~= epoch or after > last then
    -- The position is of a log that was forgotten. How many of its lines are missing is unknown.
    first, gap = oldest, true
  else
    first, gap = math.max(oldest, after + 1), after + 1 < oldest
  end
end
local answer = {epoch and epoch .. '-' .. last or '', tostring(oldest - 1), tostring(first), gap and '1' or '0'}
-- The most values that Lua's stack takes at once.
local SLICE = 1000
local final = math.min(last, first + most - 1)
for start = first, final, SLICE do
  local fields = {}
  for n = start, math.min(final, start + SLICE - 1) do
    fields[#fields + 1] = 'l' .. n
  end
  for _, line in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
    answer[#answer + 1] = line or ''
  end
end
return answer
