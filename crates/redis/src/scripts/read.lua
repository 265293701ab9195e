-- Reads a job's latest states: spec/README.md, section 14.
--
-- KEYS  status; the job's hash (described in report.lua)
-- ARGV  position       the one after which states are requested; empty: all
--       max_states     how many states at most
--       has_timeline   1 if the job's timeline is requested too
--
-- Returns {legacy, serial, secret, state, …}: the newest state first, and, if it is requested, the timeline last. `legacy` is
-- the value that a legacy worker set under the status key; empty if there is none, or if it is the newest state. `serial` is
-- that of the legacy publish folded last, or 0. The proofs are made with `secret`. No element: the job is not known.
local position, max_states, has_timeline = unpack(ARGV)
local LAYOUT = 1
-- The longest update that any instance accepts, and the longest state: what the fold adds is short. A job's meta is shorter.
local MAX_UPDATE, MAX_STATE = 16 * 1024 * 1024, 17 * 1024 * 1024
-- The most bytes of the value and the states together. Redis closes a subscribed connection that has more than 32 MB to send, and an
-- instance has one connection for all jobs. Whoever may write to a job's keys could put more there.
local MAX_BYTES = 24 * 1024 * 1024

local value = redis.call('GET', KEYS[1])
if value and #value > MAX_UPDATE then
  -- It is still too long for the caller, which rejects it.
  value = string.sub(value, 1, 1024 * 1024)
end
local meta = redis.call('HGET', KEYS[2], 'meta')
local layout, expires, secret, epoch, number, ring, written, oldest, taken, _
if meta and #meta <= MAX_STATE then
  layout, expires, _, secret, epoch, number, _, _, _, _, _, ring, written, oldest, _, _, _, taken = cmsgpack.unpack(meta)
end
local time = redis.call('TIME')
if layout ~= LAYOUT or expires <= time[1] * 1000 + math.floor(time[2] / 1000) then
  return value and {value, '0', ''} or {}
end
local newest = redis.call('HGET', KEYS[2], tostring((written - 1) % ring))
local answer = {'', string.match(taken or '', '^%x+ (%d+)') or '0', secret}
if value and value ~= newest then
  answer[1] = value
end
local most = math.min(tonumber(max_states), written - oldest)
local after_epoch, after_number = string.match(position, '^(%x+)-(%d+)$')
if after_epoch == epoch then
  most = math.min(most, number - tonumber(after_number))
end
-- The most values that Lua's stack takes at once.
local SLICE = 1000
local bytes, is_full = #answer[1], false
for first = 1, most, SLICE do
  local fields = {}
  for n = first, math.min(most, first + SLICE - 1) do
    fields[#fields + 1] = tostring((written - n) % ring)
  end
  for _, state in ipairs(redis.call('HMGET', KEYS[2], unpack(fields))) do
    if state and not is_full then
      bytes = bytes + #state
      if #state <= MAX_STATE and bytes <= MAX_BYTES then
        answer[#answer + 1] = state
      elseif #answer == 3 then
        -- The caller cannot read a job without its newest state.
        answer[4] = ''
      else
        -- This and the older states are left out, as if they were no longer kept.
        is_full = true
      end
    end
  end
end
if has_timeline == '1' then
  answer[#answer + 1] = redis.call('HGET', KEYS[2], 'timeline') or ''
end
return answer
