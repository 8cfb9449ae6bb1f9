-- release: give groups back; the delivery does not count. Skips groups that the owner does not hold. args: owner, groups.
-- needs: keys, open_episodes, alarm, places, episode, group
for index = 2, #args do
  local group = args[index]
  if holds(args[1], group) then
    call('HINCRBY', group_key(group), 'deliveries', -1)
    requeue(group, 'claimed')
  end
end
return 1
