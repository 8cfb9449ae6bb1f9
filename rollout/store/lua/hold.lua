-- hold: groups that may be marked as trained into a version. Extends their lease. Returns the others.
-- args: owner, version, lease in ms, groups
-- needs: keys, open_episodes, alarm, places, episode, group, training
local owner, version, lease = unpack(args, 1, 3)
for index = 4, #args do
  if holds(owner, args[index]) then call('ZADD', key('claimed'), now + lease, args[index]) end
end
return lost_groups(owner, version, 4, #args)
