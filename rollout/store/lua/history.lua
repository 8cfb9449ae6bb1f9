-- history: the history policy of episodes that name none, if it was set. No args.
-- needs: keys
return call('GET', key('history'))
