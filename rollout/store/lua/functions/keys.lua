-- The names of keys, and the time.
-- KEYS[1] is the project's prefix; every other key starts with it and lies in the same slot.
-- ARGV[1..6]: now, and the durations idle, grace, retention, reward deadline and silence, all in milliseconds.
local any_number = tonumber
-- The number that a text is, if it is one; `inf` and `nan` are none.
local function tonumber(value)
  local found = any_number(value)
  if found and found - found == 0 then return found end
end

local prefix = KEYS[1]
local now = tonumber(ARGV[1])
local idle_ms, grace_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
local retention_ms, reward_deadline_ms = tonumber(ARGV[4]), tonumber(ARGV[5])
local silence_ms = tonumber(ARGV[6])
local args = #ARGV <= 1000 and {unpack(ARGV, 7)} or {}  -- unpack would fail beyond 8000 values
for index = #args + 7, #ARGV do args[index - 6] = ARGV[index] end
local call, mend  -- damage.lua, rebuild.lua

-- The kind of a key comes before the first colon and the id after it, so whatever its characters, no id is part of another key.
local function key(name) return prefix .. name end
local function episode_key(id, part) return prefix .. 'ep' .. (part or '') .. ':' .. id end
local function opening_key(id) return key('found.opening:' .. id) end
local function group_key(id, part) return prefix .. 'grp' .. (part or '') .. ':' .. id end

-- An error of errors.py and its arguments, separated by a control character, which is removed from the arguments.
local function refuse(name, ...)
  local words = {}
  for index, word in ipairs({...}) do words[index] = tostring(word):gsub('%c', ' ') end
  return redis.error_reply(name .. ' ' .. table.concat(words, '\31'))
end

-- The parts of an episode besides its header.
local function episode_parts()
  return {'.turns', '.turn_ids', '.rewards', '.reward_log', '.reward_keys', '.replies', '.reply_keys',
          '.withdrawn', '.leases', '.superseded', '.advantages', '.messages'}
end

local function number(value) return tonumber(value) or 0 end

-- Whether an episode was counted by the recount that is under way (repair.lua): those up to a place in the list were.
local recounted_rank  -- of that place; nothing if it has to be read, -1 if there is none
local function is_recounted(id)
  if not recounted_rank then
    local phase, cursor = unpack(call('HMGET', key('repair'), 'phase', 'cursor'))
    recounted_rank = phase == 'counts' and cursor ~= '' and call('ZRANK', key('episodes'), cursor) or -1
  end
  return recounted_rank >= 0 and (call('ZRANK', key('episodes'), id) or math.huge) <= recounted_rank
end

-- Changes a count that an episode is a part of.
local function count(field, by, id)
  call('HINCRBY', key('totals'), field, by)
  if is_recounted(id) then call('HINCRBY', key('recount'), field, by) end
end
