package registrar

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"

	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-connections/nat"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

const (
	// stopSeconds is what a container gets to stop by itself, when the host goes
	// down or it is to be made anew: a checkpoint may take its time.
	stopSeconds = 60
	// pidsLimit bounds processes and threads. PostgreSQL has one process a
	// connection; far above what any plan allows, and still no fork bomb.
	pidsLimit = 2048
	// leastShm is Docker's own default for /dev/shm.
	leastShm = 64 << 20
	// nanoPerMilli makes Docker's unit of CPU from ours.
	nanoPerMilli = 1_000_000
)

// spec is what a node's container is made from.
type spec struct {
	name   string
	image  string
	labels map[string]string
	addrs  map[int]netip.AddrPort
	// memory is in bytes, milliCPU in thousandths of a core. 0: no limit.
	memory   int64
	milliCPU int64
}

// labels returns the labels of a node's container.
func (c Config) labels(instance, node string) map[string]string {
	return map[string]string{
		labelSite:    c.Site,
		labelHost:    c.Hostname,
		labelBackend: c.ID,
		labelCluster: instance,
		labelNode:    node,
	}
}

// volumeLabels returns the labels of a node's volume.
func (c Config) volumeLabels(instance, node string, ports hostPorts) map[string]string {
	labels := maps.Clone(c.labels(instance, node))
	for internal, port := range ports {
		labels[portLabel(internal)] = fmt.Sprint(port)
	}
	return labels
}

// spec returns what the container of a node with that goal is made from.
func (c Config) spec(g goal, node string, ports hostPorts) spec {
	labels := c.labels(g.cluster.InstanceID, node)
	labels[labelSpec] = g.spec.Digest()
	return spec{
		name:     containerName(node),
		image:    g.spec.Image,
		labels:   labels,
		addrs:    ports.addrs(c.Backend),
		memory:   int64(g.spec.MemoryMB) << 20,
		milliCPU: int64(g.spec.MilliCPU),
	}
}

// container is what Docker is told of the inside. No environment and no
// arguments: whoever may inspect a container must find no secret.
func (s spec) container() *dockercontainer.Config {
	exposed := nat.PortSet{}
	for internal := range s.addrs {
		exposed[tcpPort(internal)] = struct{}{}
	}
	stop := stopSeconds
	return &dockercontainer.Config{Image: s.image, Labels: s.labels, ExposedPorts: exposed, StopTimeout: &stop}
}

// host is what Docker is told of the outside.
func (s spec) host() *dockercontainer.HostConfig {
	published := nat.PortMap{}
	for internal, addr := range s.addrs {
		published[tcpPort(internal)] = []nat.PortBinding{{HostIP: addr.Addr().String(), HostPort: fmt.Sprint(addr.Port())}}
	}
	pids := int64(pidsLimit)
	return &dockercontainer.HostConfig{
		PortBindings: published,
		Mounts:       []mount.Mount{{Type: mount.TypeVolume, Source: s.name, Target: patroni.VolumePath}},
		// Restarting is the registrar's: a leader has to be fenced first.
		RestartPolicy: dockercontainer.RestartPolicy{Name: dockercontainer.RestartPolicyDisabled},
		Resources: dockercontainer.Resources{
			// With MemorySwap alike there is no swap: a database that swaps is slow
			// rather than dead, which nobody notices.
			Memory: s.memory, MemorySwap: s.memory, NanoCPUs: s.milliCPU * nanoPerMilli, PidsLimit: &pids,
		},
		ShmSize: s.shm(),
		// What is not in the volume is gone with the container, and what is of the
		// image stays as it was built.
		ReadonlyRootfs: true,
		Tmpfs: map[string]string{
			patroni.RunPath: tmpfs(1, 0o700), patroni.SocketPath: tmpfs(1, 0o755), "/tmp": tmpfs(64, 0o700),
		},
		CapDrop:     []string{"ALL"},
		SecurityOpt: []string{"no-new-privileges"},
		LogConfig:   dockercontainer.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
	}
}

// shm is the size of /dev/shm, where PostgreSQL's parallel queries put what
// their workers share. Docker's 64 MB are soon too little. What is used of it
// counts as the container's memory, so half of the limit costs nothing until it
// is needed, and makes a greedy query fail with an error before the kernel
// kills the server.
func (s spec) shm() int64 {
	if s.memory == 0 {
		return 4 * leastShm
	}
	return max(s.memory/2, leastShm)
}

// tmpfs describes a folder in memory of at most so many MiB, the node's own.
func tmpfs(mb, mode int) string {
	return fmt.Sprintf("rw,noexec,nosuid,nodev,size=%dm,mode=%04o,uid=%d,gid=%d", mb, mode, patroni.NodeUID, patroni.NodeGID)
}

func tcpPort(port int) nat.Port { return nat.Port(fmt.Sprintf("%d/tcp", port)) }

// nodeFile returns the content of a node's node.json.
func (c Config) nodeFile(g goal, node string) ([]byte, error) {
	cluster := g.cluster
	if err := opened(cluster); err != nil {
		return nil, err
	}
	n := patroni.NodeConfig{
		InstanceID:  cluster.InstanceID,
		NodeID:      node,
		Image:       c.Image,
		Hostname:    c.Hostname,
		Container:   containerName(node),
		Etcd:        c.Etcd,
		EtcdLogin:   c.EtcdLogin,
		EtcdTLS:     c.EtcdTLS,
		Superuser:   cluster.SuperuserCredentials,
		Replication: cluster.ReplicationCredentials,
		Admin:       cluster.AdminCredentials,
		REST:        cluster.RESTCredentials,
		Owner:       cluster.AppCredentials.Username,
		Database:    cluster.Database,
		Synchronous: cluster.Synchronous,
		MemoryMB:    g.spec.MemoryMB,
	}
	if err := n.Validate(); err != nil {
		return nil, fmt.Errorf("the cluster's record is not complete: %w", err)
	}
	return json.Marshal(n)
}

// opened returns an error if the passwords of a record are sealed.
func opened(c state.Cluster) error {
	spare, _ := c.SpareLogins()
	for _, login := range []state.Credentials{c.SuperuserCredentials, spare.Superuser} {
		if sealed.IsSealed(login.Password.Reveal()) {
			return fmt.Errorf("the cluster's record is sealed under key %s, which this registrar's record_key_file does not have: give it that of the brokers", cmp.Or(login.SealedBy, "of no name"))
		}
	}
	return nil
}
