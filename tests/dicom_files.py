"""DICOM files that tests write, as bytes."""

import io
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

PATIENT = "SECRET^PATIENT"  # must never be seen again


def dicom(pixels: np.ndarray | None, photometric: str = "MONOCHROME2", **elements: Any) -> bytes:
    """A DICOM file with these stored values, (H, W) or (H, W, 3); more elements by keyword."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = elements.pop("syntax", ExplicitVRLittleEndian)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID, data.PatientBirthDate = PATIENT, "SECRET-ID", "19010203"
    if pixels is not None:
        data.PhotometricInterpretation = photometric
        data.Rows, data.Columns = pixels.shape[:2]
        data.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
        if data.SamplesPerPixel > 1:
            data.PlanarConfiguration = 0
        bits = 8 * pixels.itemsize
        data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
        data.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
        data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in elements.items():
        setattr(data, name, value)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def repacked(content: bytes, syntax: str) -> bytes:
    """A compressed file that says of itself that it is packed in another way."""
    data = pydicom.dcmread(io.BytesIO(content))
    data.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    data.save_as(buffer)
    return buffer.getvalue()


def table(kind: str, values: np.ndarray, first: int = 0, bits: int = 16) -> Dataset:
    """An item of a ModalityLUTSequence or VOILUTSequence."""
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = values.astype("<u2").tobytes()
    if kind == "modality":
        item.ModalityLUTType = "US"
    return item


def palette_elements(colours: np.ndarray) -> dict[str, Any]:
    """The tables of a palette, uint16 (256, 3)."""
    elements: dict[str, Any] = {}
    for place, name in enumerate(("Red", "Green", "Blue")):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours), 0, 16]
        elements[f"{name}PaletteColorLookupTableData"] = colours[:, place].astype("<u2").tobytes()
    return elements
