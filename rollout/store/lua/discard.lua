-- discard: end claimed groups without training them; all or none. args: owner, reason, groups.
-- needs: keys, open_episodes, alarm, places, episode, group
local owner, reason = args[1], args[2]
local lost = {}
for index = 3, #args do
  local status, holder = unpack(call('HMGET', group_key(args[index]), 'status', 'owner'))
  local is_own = holder == owner and (status == 'claimed' or status == 'discarded')
  if not is_own then lost[#lost + 1] = args[index] end
end
if #lost > 0 then return refuse('ClaimLost', unpack(lost)) end

for index = 3, #args do
  if holds(owner, args[index]) then discard_group(args[index], reason) end
end
return 1
