-- renew: extend the lease of groups. args: owner, lease in ms, groups. Returns the groups that are lost.
-- needs: keys, open_episodes, alarm, places, episode, group
local owner, lease = args[1], args[2]
local lost = {}
for index = 3, #args do
  if holds(owner, args[index]) then
    call('ZADD', key('claimed'), now + lease, args[index])
  else
    lost[#lost + 1] = args[index]
  end
end
return lost
