-- restore: queue groups again that were trained into versions after this one. args: version. Returns the groups.
-- needs: keys, open_episodes, alarm, places, episode, group, restoring
return queue_again(call('ZRANGEBYSCORE', key('trained'), '(' .. args[1], '+inf'))
