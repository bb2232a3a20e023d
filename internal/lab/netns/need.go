package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// programs that a network of namespaces is built with, and Debian's packages.
var programs = []struct{ name, pkg string }{
	{"ip", "iproute2"}, {"nft", "nftables"}, {"wireguard-go", "wireguard-go"}, {"wg", "wireguard-tools"},
}

// tunDevice is what wireguard-go makes its interfaces with.
const tunDevice = "/dev/net/tun"

// Missing says what this machine lacks to build such networks; nil: nothing.
func Missing() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("only root may make network namespaces"))
	}
	if _, err := os.Stat(tunDevice); err != nil {
		errs = append(errs, fmt.Errorf("wireguard-go needs a device: %w (modprobe tun)", err))
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err != nil {
			errs = append(errs, fmt.Errorf("no program %s: apt-get install %s", p.name, p.pkg))
		}
	}
	return errors.Join(errs...)
}
