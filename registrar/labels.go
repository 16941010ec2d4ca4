package registrar

import (
	"net/netip"
	"strconv"

	"github.com/docker/docker/api/types/filters"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// The labels of containers and volumes.
const (
	labelSite    = "pgpatron.site"
	labelHost    = "pgpatron.host"
	labelBackend = "pgpatron.backend"
	labelCluster = "pgpatron.cluster"
	labelNode    = "pgpatron.node"
	// labelSpec holds the digest of what a container was made from. It is on
	// containers alone: a volume outlives them.
	labelSpec = "pgpatron.spec"
	// labelPort, followed by an internal port, holds a node's host port. It is
	// on the volume, so that the port outlives the container.
	labelPort = "pgpatron.port."
)

// internalPorts are the ports of a node that the world reaches.
var internalPorts = []int{patroni.PostgreSQLPort, patroni.RESTPort}

// containerName is the name of a node's container and of its volume.
func containerName(node string) string { return state.Node{NodeID: node}.Container() }

// owner is whose containers and volumes a registrar sees: those with both the
// site's and the backend's label. It never touches any other.
type owner struct {
	site, backend string
}

func (o owner) owns(labels map[string]string) bool {
	return labels[labelSite] == o.site && labels[labelBackend] == o.backend && labels[labelNode] != ""
}

func (o owner) filter() filters.Args {
	return filters.NewArgs(filters.Arg("label", labelSite+"="+o.site), filters.Arg("label", labelBackend+"="+o.backend))
}

// anyNode finds the volumes of every node on this Docker, of whichever site.
func anyNode() filters.Args {
	return filters.NewArgs(filters.Arg("label", portLabel(patroni.PostgreSQLPort)))
}

func portLabel(internal int) string { return labelPort + strconv.Itoa(internal) }

// hostPorts are the host's ports of one node, by internal port.
type hostPorts map[int]int

// portsOf reads a volume's labels.
func portsOf(labels map[string]string) hostPorts {
	ports := hostPorts{}
	for _, internal := range internalPorts {
		if port, err := strconv.Atoi(labels[portLabel(internal)]); err == nil {
			ports[internal] = port
		}
	}
	return ports
}

// addrs returns where the ports are reached at an address.
func (p hostPorts) addrs(at netip.Addr) map[int]netip.AddrPort {
	addrs := map[int]netip.AddrPort{}
	for internal, port := range p {
		addrs[internal] = netip.AddrPortFrom(at, uint16(port))
	}
	return addrs
}
