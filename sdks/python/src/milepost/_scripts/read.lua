-- Reads a job's latest states: spec/README.md, section 14.
--
-- KEYS  status, history, meta
-- ARGV  1  the position after which states are wanted; empty: all
--       2  at most so many states
--
-- Answers {left, serial, state, …}: the newest state first. `left` is what today's worker left under the status key;
-- empty if that is the newest state, or there is nothing. `serial` is that of the publish taken last, or 0. No element
-- at all: the job is not known.
local newest = redis.call('LINDEX', KEYS[2], 0)
local left = redis.call('GET', KEYS[1])
if not newest then
  return left and {left, '0'} or {}
end
local answer = {'', redis.call('HGET', KEYS[3], 'serial') or '0'}
if left and left ~= newest then
  answer[1] = left
end
local most = tonumber(ARGV[2])
local epoch, number = string.match(ARGV[1], '^(%x+)-(%d+)$')
if epoch then
  local present = redis.call('HMGET', KEYS[3], 'epoch', 'number')
  if present[1] == epoch then
    most = math.min(most, tonumber(present[2]) - tonumber(number))
  end
end
if most > 0 then
  for _, state in ipairs(redis.call('LRANGE', KEYS[2], 0, most - 1)) do
    answer[#answer + 1] = state
  end
end
return answer
