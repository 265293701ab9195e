-- Reads lines of a job's log: spec/README.md, section 17.
--
-- KEYS  the job's hash
-- ARGV  position   the one after which lines are requested; empty: the newest
--       most       how many lines at most
--
-- Returns {position of the last line, how many lines are no longer kept, number of the first line here, '1' if lines are
-- missing before it, line, …}, oldest first. The position is empty if the log never had a line. No element: the job is not
-- known.
local position, most = unpack(ARGV)
local known, epoch, last, oldest = find_log(KEYS[1])
if not known then
  return {}
end
most = tonumber(most)
local first, gap = math.max(oldest, last + 1 - most), false
if position ~= '' then
  local after_epoch, after = string.match(position, '^(%x+)-(%d+)$')
  after = tonumber(after)
  if after_epoch ~= epoch or after > last then
    -- The position is of a log that was forgotten. How many of its lines are missing is unknown.
    first, gap = oldest, true
  else
    first, gap = math.max(oldest, after + 1), after + 1 < oldest
  end
end
local answer = {epoch and epoch .. '-' .. last or '', tostring(oldest - 1), tostring(first), gap and '1' or '0'}
-- A longer line was not written by Milepost. The caller rejects the empty one that stands for it.
local MAX_LINE = 64 * 1024
-- The most bytes of the answer, several times what a log keeps. Lines beyond them are left out, as if they were not written yet.
local MAX_BYTES = 1024 * 1024
-- The most values that Lua's stack takes at once.
local SLICE = 1000
local bytes = 0
local final = math.min(last, first + most - 1)
for start = first, final, SLICE do
  local fields = {}
  for n = start, math.min(final, start + SLICE - 1) do
    fields[#fields + 1] = 'l' .. n
  end
  for _, line in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
    line = line and #line <= MAX_LINE and line or ''
    bytes = bytes + #line
    if bytes > MAX_BYTES then
      return answer
    end
    answer[#answer + 1] = line
  end
end
return answer
