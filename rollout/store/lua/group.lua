-- group: read status, size, deliveries, deadline, and the members with their status. args: group.
-- needs: keys
local id = args[1]
local status, size, deliveries = unpack(call('HMGET', group_key(id), 'status', 'size', 'deliveries'))
if not status then return false end
local found = {}
for _, member in ipairs(call('ZRANGE', group_key(id, '.members'), 0, -1)) do
  local own = call('HGET', episode_key(member), 'status')
  if own then
    found[#found + 1] = member
    found[#found + 1] = own
  end
end
local deadline = number(call('ZSCORE', key('deadlines'), id))
return {status, size, deliveries, deadline > 0 and deadline < 1e15 and string.format('%.0f', deadline), found}
