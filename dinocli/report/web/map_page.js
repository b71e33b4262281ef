byId("summary").textContent = `${DATA.name.length} images in ${DATA.clusters.length} groups`;
