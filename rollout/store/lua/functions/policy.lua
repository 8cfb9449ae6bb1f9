-- Writes the current or the pinned policy. args: version, path, parent or '', digest, created
local function write_policy(name, version, path, parent, digest, created)
  call('HSET', key(name), 'version', version, 'path', path, 'parent', parent, 'digest', digest,
    'created', created)
  if tonumber(version) > tonumber(call('GET', key('version')) or 0) then
    call('SET', key('version'), version)
  end
  call('PUBLISH', key('signal'), 'policy')
end
