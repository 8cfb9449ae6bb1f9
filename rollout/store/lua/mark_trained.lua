-- mark_trained: mark groups of this shard as trained into a version; they are so once shard 0 has recorded its policy.
-- args: owner, version, number of groups, groups, then as ack.lua
-- needs: keys, open_episodes, alarm, places, episode, group, training
local owner, version, num_groups = unpack(args, 1, 3)
local last_group = 3 + num_groups
local lost = lost_groups(owner, version, 4, last_group)
if #lost > 0 then return refuse('ClaimLost', unpack(lost)) end
train_groups(owner, version, 4, last_group)
return 1
