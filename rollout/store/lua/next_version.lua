-- next_version: reserve a new policy version. No args.
-- needs: keys
local version = call('INCR', key('version'))
keep_copy('version')
return version
