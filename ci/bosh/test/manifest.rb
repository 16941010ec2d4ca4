# frozen_string_literal: true

# Manifest is a manifest with operations and variables, as the bosh CLI and the director read them.
class Manifest
  def initialize(text)
    @doc = YAML.safe_load(text, aliases: true)
  end

  def apply(operations)
    operations.each { |o| operate(o['type'], o['path'].delete_prefix('/').split('/'), o['value'], o['path']) }
  end

  # interpolated returns the manifest with each ((variable)) in its place. What nobody gives and the
  # manifest does not declare is an error.
  def interpolated(given)
    @values = given
    (@doc['variables'] || []).each { |v| @values[v['name']] ||= make(v) }
    missing = []
    out = fill(@doc, missing)
    abort "missing variables: #{missing.uniq.sort.join(', ')}" unless missing.empty?
    unused = given.keys - seen
    warn "variables that nothing uses: #{unused.join(', ')}" unless unused.empty?
    out
  end

  private

  def operate(type, path, value, shown)
    at = @doc
    path[0..-2].each { |part| at = step(at, part) || abort("#{shown}: nothing at '#{part}'") }
    last = path.last
    if last == '-'
      at.push(value)
    elsif at.is_a?(Array)
      key, name = last.split('=')
      i = at.index { |e| e[key] == name } || abort("#{shown}: nothing at '#{last}'")
      type == 'remove' ? at.delete_at(i) : at[i] = value
    else
      key = last.delete_suffix('?')
      abort "#{shown}: nothing at '#{last}'" unless last.end_with?('?') || at.key?(key)
      type == 'remove' ? at.delete(key) : at[key] = value
    end
  end

  def step(at, part)
    optional = part.end_with?('?')
    part = part.delete_suffix('?')
    if part.include?('=')
      key, name = part.split('=')
      return at.find { |e| e[key] == name }
    end
    at[part] ||= {} if optional
    at[part]
  end

  def fill(node, missing)
    case node
    when Hash then node.to_h { |k, v| [k, fill(v, missing)] }
    when Array then node.map { |v| fill(v, missing) }
    when /\A\(\((.+)\)\)\z/ then value(Regexp.last_match(1), missing)
    else node
    end
  end

  def value(name, missing)
    variable, part = name.split('.')
    seen << variable
    missing << variable unless @values.key?(variable)
    part ? (@values[variable] || {})[part] : @values[variable]
  end

  def seen = @seen ||= %w[etcd_ca broker_ca]

  def make(variable)
    case variable['type']
    when 'password' then SecureRandom.alphanumeric(variable.dig('options', 'length') || 30)
    when 'certificate' then certificate(variable['options'])
    else abort "variable #{variable['name']}: type #{variable['type']} is not known here"
    end
  end

  # certificate signs each by one authority: that what it is for fits is the director's matter.
  def certificate(options)
    key = OpenSSL::PKey::EC.generate('prime256v1')
    cert = OpenSSL::X509::Certificate.new
    cert.version = 2
    cert.serial = SecureRandom.random_number(2**64)
    cert.subject = OpenSSL::X509::Name.parse(options['common_name'] ? "/CN=#{options['common_name']}" : "/O=#{options['organization']}")
    cert.public_key = key
    cert.not_before = Time.now - 60
    cert.not_after = Time.now + 3600
    signer = options['is_ca'] ? nil : @values[options['ca']] || abort("no authority #{options['ca']}")
    cert.issuer = signer ? OpenSSL::X509::Certificate.new(signer['certificate']).subject : cert.subject
    cert.sign(signer ? OpenSSL::PKey.read(signer['private_key']) : key, 'SHA256')
    { 'ca' => signer ? signer['certificate'] : cert.to_pem, 'certificate' => cert.to_pem, 'private_key' => key.to_pem }
  end
end
