-- totals: every count of the project, and how many groups are ready and claimed. No args.
-- needs: keys
return {call('HGETALL', key('totals')), call('ZCARD', key('ready')), call('ZCARD', key('claimed'))}
