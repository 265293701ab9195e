-- Of some jobs, how many may become lost, or end, because their worker is silent, and how many of those workers have been
-- silent for two thirds of the time for that: see clock.lua.
--
-- KEYS  the jobs' hashes
-- ARGV  from   as in clock.lua: silence before that does not count
--
-- Returns both numbers.
local from = unpack(ARGV)
from = tonumber(from)
local LAYOUT, EXPIRES, STATUS, ATTRIBUTES, SEEN, HEALTH = 1, 2, 8, 22, 25, 27
local known, silent_now = 0, 0
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for _, job_key in ipairs(KEYS) do
  -- Anything may stand under one job's key. It is not to hide the others.
  local meta = redis.pcall('HGET', job_key, 'meta')
  local values = type(meta) == 'string' and {pcall(cmsgpack.unpack, meta)} or {}
  if table.remove(values, 1) and values[LAYOUT] == 1 and values[EXPIRES] > now_ms and values[HEALTH] and values[HEALTH] ~= 'lost' then
    local silent, _, ending = patience(values[ATTRIBUTES], values[STATUS])
    local first = math.min(silent or math.huge, ending or math.huge)
    if first < math.huge then
      known = known + 1
      if now_ms - math.max(values[SEEN], from) >= first * 2 / 3 then
        silent_now = silent_now + 1
      end
    end
  end
end
return {tostring(known), tostring(silent_now)}
