-- inspect_index: read a part of a sorted set or a hash. args: name, cursor. Returns the next cursor, and its ids; of a hash
--   the fields. A key of another type reads as empty.
-- needs: keys
local name, cursor = args[1], args[2]
local kind = call('TYPE', key(name)).ok
if kind ~= 'zset' and kind ~= 'hash' then return {'0', {}} end
local reply = call(kind == 'zset' and 'ZSCAN' or 'HSCAN', key(name), cursor, 'COUNT', 500)
local ids = {}
for index = 1, #reply[2], 2 do ids[#ids + 1] = reply[2][index] end
return {reply[1], ids}
