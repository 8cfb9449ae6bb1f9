-- The open episodes of a key that may have so many only. The episode says that it is listed, so that others cost one read.
local function open_of(owner_key)
  local name = key('limit.open:' .. owner_key)
  local kind = call('TYPE', name).ok
  if kind ~= 'set' and kind ~= 'none' then call('DEL', name) end  -- garbage: counting starts anew
  return name
end

local function num_open(owner_key) return call('SCARD', open_of(owner_key)) end

local function list_open(id, owner_key)
  call('SADD', open_of(owner_key), id)
  call('HSET', episode_key(id), 'listed', 1)
end

local function unlist_open(id)
  local listed, owner_key = unpack(call('HMGET', episode_key(id), 'listed', 'key'))
  if listed then call('SREM', open_of(owner_key), id) end
end
