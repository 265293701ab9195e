-- Keeps how long an attempt took that has completed, for the estimates of later ones of the same name: spec/README.md, sections 3
-- and 14. crates/protocol (usual.rs) explains the bytes.
--
-- KEYS  the names of one bucket
-- ARGV  name; how long the attempt took, in tenths of a second; how long a name is kept after the latest of its attempts, in
--       milliseconds; at most so many attempts of a name; at most so many names in the bucket
--
-- The hash has the attempts of each name under `=` and the name, and in `names`, as MessagePack, each name and when its latest
-- attempt completed, in milliseconds, oldest first.
local key, name, tenths, keep, max_runs, max_names =
  KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local call = redis.call
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local packed = call('HGET', key, 'names')
local names = packed and cmsgpack.unpack(packed) or {}
local kept, runs = {}, ''
for _, known in ipairs(names) do
  if known[1] == name then
    if known[2] + keep >= now_ms then
      runs = string.sub(call('HGET', key, '=' .. name) or '', 8)
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
call('HSET', key, 'names', cmsgpack.pack(kept), '=' .. name, struct.pack('>I6I1', now_ms, #runs / 4) .. runs)
call('PEXPIREAT', key, tostring(now_ms + keep))
return 1
