-- history: read the history policy of episodes that name none, false if it is not set. No args.
-- needs: keys
return call('GET', key('history'))
