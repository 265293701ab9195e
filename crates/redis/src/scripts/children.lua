-- The children in a job's state: spec/README.md, section 18. crates/protocol (children.rs) has the same in Rust.
--
-- `totals`, in the hash of a parent's children, is a sequence of MessagePack values: how many children are queued, processing,
-- completed, failed, cancelled and lost; the sum of their weights; the sum of weight times progress; whether there are more
-- children, which are not counted; when the keys expire, in milliseconds; whether the totals changed since they were shown.
local QUEUED, PROCESSING, COMPLETED, FAILED, CANCELLED, LOST = 1, 2, 3, 4, 5, 6
local WEIGHT, DONE, INCOMPLETE, EXPIRES, CHANGED = 7, 8, 9, 10, 11

local function parse_totals(packed)
  return packed and {cmsgpack.unpack(packed)} or {0, 0, 0, 0, 0, 0, 0, 0, false, 0, false}
end

local function pack_totals(totals)
  return cmsgpack.pack(unpack(totals, 1, CHANGED))
end

-- The keys of a job's children, in the slot of its hash: the hash with the summary of each child, and the set of those that
-- have not ended, by the time of their latest summary. They are keys of their own, so a job without children has no cost.
local function children_keys(job_key)
  local id = string.sub(job_key, #'job_meta:' + 1)
  return 'job_children:' .. id, 'job_open_children:' .. id
end

-- Returns the value of `children` in a job's state, and the job's progress if it `follows` them. `expected` is the attribute
-- `children_expected`, if the job has it.
local function show_children(totals, expected, follows)
  local ended = totals[COMPLETED] + totals[FAILED] + totals[CANCELLED]
  local known = ended + totals[QUEUED] + totals[PROCESSING] + totals[LOST]
  expected = math.max(tonumber(expected or 0), known)
  local progress
  if follows and expected > 0 then
    local weight = totals[WEIGHT] + (expected - known)
    if ended == expected then
      progress = '1.0'
    elseif weight > 0 and weight < math.huge then
      progress = decimals(totals[DONE] / weight)
    end
  end
  return string.format('{"expected":%d,"queued":%d,"processing":%d,"completed":%d,"failed":%d,"cancelled":%d,"lost":%d',
    expected, totals[QUEUED], totals[PROCESSING], totals[COMPLETED], totals[FAILED], totals[CANCELLED], totals[LOST])
    .. (totals[INCOMPLETE] and ',"incomplete":true' or '')
    .. (progress and ',"progress":' .. progress or '') .. '}', progress
end

