-- ready_heads: the groups that would be claimed first, as group, score, ... args: how many.
-- needs: keys
return call('ZRANGE', key('ready'), 0, args[1] - 1, 'WITHSCORES')
