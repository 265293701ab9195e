-- Keeps how long an attempt took that has completed, for the estimates of later ones of the same name: spec/README.md, sections 3
-- and 14. crates/protocol (usual.rs) explains the bytes.
--
-- KEYS  the names of one bucket
-- ARGV  the arguments named below
--
-- The hash has the attempts of each name under `=` and the name, and in `names`, as MessagePack, each name and when its latest
-- attempt completed, in milliseconds, oldest first.
local name, tenths, keep, max_runs, max_names, stages, max_bytes = unpack(ARGV)
-- name                  of the attempt's job
-- tenths                how long the attempt took, in tenths of a second
-- keep                  how long a name is kept after the latest of its attempts, in milliseconds
-- max_runs, max_names   the most attempts of a name, and the most names in the bucket
-- stages                how long the attempt was in each of its stages: in milliseconds, as four bytes, the length of the stage's
--                       id, as two, and the id
-- max_bytes             the most bytes about the stages of a name
tenths, keep, max_runs, max_names, max_bytes =
  tonumber(tenths), tonumber(keep), tonumber(max_runs), tonumber(max_names), tonumber(max_bytes)
local key, call = KEYS[1], redis.call
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local packed = call('HGET', key, 'names')
local names = packed and cmsgpack.unpack(packed) or {}
local kept, runs, known_stages = {}, '', ''
for _, known in ipairs(names) do
  if known[1] == name then
    if known[2] + keep >= now_ms then
      local record = call('HGET', key, '=' .. name) or ''
      local stages_at = 8 + 4 * (string.byte(record, 7) or 0)
      runs, known_stages = string.sub(record, 8, stages_at - 1), string.sub(record, stages_at)
    end
  else
    kept[#kept + 1] = known
  end
end
kept[#kept + 1] = {name, now_ms}
while #kept > max_names or kept[1][2] + keep < now_ms do
  call('HDEL', key, '=' .. table.remove(kept, 1)[1])
end
runs = string.sub(runs .. struct.pack('>I4', tenths), -4 * max_runs)

-- The means of the stages: first those of this attempt, then those that only earlier attempts had.
local new_stages = known_stages
if stages ~= '' then
  local means, is_new, others, at = {}, {}, {}, 1
  while at <= #known_stages do
    local count, mean, length, id_at = struct.unpack('>I1I4I2', known_stages, at)
    local id = string.sub(known_stages, id_at, id_at + length - 1)
    means[id] = means[id] or {count, mean}
    others[#others + 1] = {id, string.sub(known_stages, at, id_at + length - 1)}
    at = id_at + length
  end
  new_stages, at = '', 1
  local is_full = false
  local function add(record)
    is_full = is_full or #new_stages + #record > max_bytes
    new_stages = is_full and new_stages or new_stages .. record
  end
  while at <= #stages do
    local millis, length, id_at = struct.unpack('>I4I2', stages, at)
    local id = string.sub(stages, id_at, id_at + length - 1)
    local count, mean = 1, millis
    if means[id] then
      count = math.min(means[id][1] + 1, 32)
      mean = math.floor(means[id][2] + (millis - means[id][2]) / count + 0.5)
    end
    is_new[id] = true
    add(struct.pack('>I1I4I2', count, mean, length) .. id)
    at = id_at + length
  end
  for _, other in ipairs(others) do
    if not is_new[other[1]] then
      add(other[2])
    end
  end
end
call('HSET', key, 'names', cmsgpack.pack(kept), '=' .. name, struct.pack('>I6I1', now_ms, #runs / 4) .. runs .. new_stages)
call('PEXPIREAT', key, tostring(now_ms + keep))
return 1
