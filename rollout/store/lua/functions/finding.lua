-- Episodes in which the same was said.
local TRIES = 8

local function is_open(id, owner)
  local status, by = unpack(call('HMGET', episode_key(id), 'status', 'key'))
  return status == 'open' and by == owner
end

-- One that nobody has continued from here, the latest first; else the one that was continued last. A repeat goes where its
-- first try went. Returns the episode, and when this was said or, negative, when it was continued.
local function said_in(name, owner, is_repeat)
  for _ = 1, TRIES do
    local newest, at = unpack(call('ZREVRANGE', name, 0, 0, 'WITHSCORES'))
    if not newest then return end
    local continued = call('ZRANGE', name, 0, 0, 'WITHSCORES')
    local prefers_continued = is_repeat == '1' and tonumber(continued[2]) < 0
    local id, when = newest, at
    if prefers_continued or tonumber(at) < 0 then id, when = continued[1], continued[2] end
    if is_open(id, owner) then return id, when end
    call('ZREM', name, id)
  end
end
