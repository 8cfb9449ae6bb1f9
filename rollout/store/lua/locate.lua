-- locate: the episode a turn belongs to. args: turn.
-- needs: keys
return call('HGET', key('turns'), args[1])
