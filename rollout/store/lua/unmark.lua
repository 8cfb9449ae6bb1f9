-- unmark: queue groups again that were marked as trained into this version, whose policy was not recorded. args: version.
-- needs: keys, open_episodes, alarm, places, episode, group, restoring
return queue_again(call('ZRANGEBYSCORE', key('trained'), args[1], args[1]))
