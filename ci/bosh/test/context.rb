# frozen_string_literal: true

# What BOSH gives to a template, by BOSH's names.

# Properties looks names with dots up.
module Properties
  def lookup(values, name)
    name.split('.').reduce(values) { |at, part| at.is_a?(Hash) ? at[part] : nil }
  end

  # with_defaults returns the values of the properties that a spec describes.
  def with_defaults(described, names, given)
    names.to_h do |name|
      abort "property '#{name}' is not described" unless described.key?(name)
      value = lookup(given, name)
      [name, value.nil? ? described[name]['default'] : value]
    end
  end

  def p(names, *default)
    Array(names).each { |name| return @values[name] unless @values[name].nil? }
    return default.first unless default.empty?

    raise "Can't find property '#{Array(names).join("', or '")}'"
  end

  def if_p(*names)
    values = names.map { |name| @values[name] }
    return Otherwise.new(true) if values.any?(&:nil?)

    yield(*values)
    Otherwise.new(false)
  end
end

# Otherwise is what follows an if_p.
Otherwise = Struct.new(:active) do
  def else
    yield if active
  end
end

# Link is what a template sees of a provider.
class Link
  include Properties
  attr_reader :instances

  def initialize(instances, described, names, given)
    @instances = instances
    @values = with_defaults(described, names, given)
  end

  def address = instances.first.address
end

# Context is what a template runs in.
class Context
  include Properties
  attr_reader :spec

  def initialize(job_spec, job, instance, links)
    @spec = instance
    @links = links
    described = job_spec['properties'] || {}
    @values = with_defaults(described, described.keys, job['properties'] || {})
    unknown(described.keys, job['properties'] || {}, '')
  end

  def link(name)
    @links[name] || raise("Can't find link '#{name}'")
  end

  def if_link(name)
    return Otherwise.new(true) unless @links[name]

    yield @links[name]
    Otherwise.new(false)
  end

  # get_binding is BOSH's own name for it.
  def get_binding = binding

  private

  # unknown refuses what the spec does not describe. BOSH lets it pass, and nobody would notice.
  def unknown(known, given, path)
    given.each do |key, value|
      name = path + key
      next if known.include?(name)
      raise "property '#{name}' is not described" unless value.is_a?(Hash) && known.any? { |k| k.start_with?("#{name}.") }

      unknown(known, value, "#{name}.")
    end
  rescue RuntimeError => e
    abort e.message
  end
end
