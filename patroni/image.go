package patroni

import (
	_ "embed"
	"strings"
)

// What is fixed about a node's container.
const (
	// ImageName is the repository name of the image and the first segment of
	// its containers' announcement keys.
	ImageName = "postgresql-brokerpatroni"
	// NodeFile is where a node finds its NodeConfig. Whoever creates the
	// container puts it there before the start: owner NodeUID and NodeGID, mode
	// 0400.
	NodeFile = "/var/lib/postgresql/node.json"
	// VolumePath is where the node's volume is mounted.
	VolumePath = "/var/lib/postgresql"
	// RunPath and SocketPath are the folders, beside the volume and /tmp, that a
	// node writes to. Both are empty at the start of a container.
	RunPath    = "/run/patroni"
	SocketPath = "/run/postgresql"
	// NodeUID and NodeGID are the user and group postgres of the image.
	NodeUID = 999
	NodeGID = 999
	// PostgresMajor is the major version of the image's PostgreSQL.
	PostgresMajor = 17
	// PostgreSQLPort and RESTPort are the internal ports of a node. Both are
	// announced.
	PostgreSQLPort = 5432
	RESTPort       = 8008
)

//go:embed image/VERSION
var imageVersion string

// ImageVersion returns the version of the image that this source tree builds:
// the tag that goes with ImageName.
func ImageVersion() string { return strings.TrimSpace(imageVersion) }
