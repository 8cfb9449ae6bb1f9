-- inspect_groups: read everything that the store keeps of some groups. args: groups.
-- Returns for each: its hash, its members and their status as id, status, ..., scores in the queues, how many members have a
--   place, names of unreadable keys.
-- needs: keys, inspecting
local function inspect(id)
  local unreadable = {}
  local read = reader(unreadable)
  local members, num_placed = {}, 0
  for _, member in ipairs(read('ZRANGE', 'grp.members:' .. id, 0, -1)) do
    members[#members + 1] = member
    local status = read('HGET', 'ep:' .. member, 'status')
    members[#members + 1] = type(status) == 'string' and status or ''
    if read('HEXISTS', 'ep:' .. member, 'place') == 1 then num_placed = num_placed + 1 end
  end
  return {
    read('HGETALL', 'grp:' .. id), members,
    scores(read, id, {'deadlines', 'ready', 'claimed', 'trained', 'ahead'}), num_placed, unreadable}
end

local found = {}
for index, id in ipairs(args) do found[index] = inspect(id) end
return found
