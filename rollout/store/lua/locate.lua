-- locate: find the episode of a turn. args: turn.
-- needs: keys
return call('HGET', key('turns'), args[1])
